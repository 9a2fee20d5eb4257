import ESP

/// Where keys come from, and that each has one SA.
extension SiteBuilder {
    private static let longestKeyFile = 4096

    func readKey(_ table: ConfigurationTable) -> KeyDraft? {
        let isInline = table.has("key"), isFile = table.has("key_file")
        if isInline && isFile {
            problems.error(table.path("key_file"), "key and key_file are both given", hint: "remove one of the two")
        }
        if let text = table.string("key") {
            let path = table.path("key")
            inlineKeyPaths.append(path)
            guard let key = masked.key(text) else {
                problems.error(path, SiteBuilder.whatIsWrong(withKey: text), hint: SiteBuilder.keyHint)
                return nil
            }
            return KeyDraft(path: path, key: key)
        }
        if let name = table.string("key_file") { return readKeyFile(name, at: table.path("key_file")) }
        // An empty or mistyped value has been told of.
        if !isInline && !isFile && !table.isAsked("key") && !table.isAsked("key_file") {
            problems.error(
                table.path, "has no key", hint: "key_file = \"keys/site-b-out.key\"; vpn-gw keygen makes a key")
        }
        return nil
    }

    private static let keyHint =
        "\"0x\" and 40 hexadecimal digits, as vpn-gw keygen makes them: 16 octets of key, 4 of salt"

    /// Says what is wrong with what stands where a key should, in words that hold nothing of it.
    private static func whatIsWrong(withKey text: String) -> String {
        guard text.hasPrefix("0x") else { return "does not begin with 0x" }
        let digits = text.dropFirst(2)
        guard digits.allSatisfy(\.isHexDigit) else { return "has characters that are no hexadecimal digits" }
        switch digits.count {
        case 32: return "has 32 digits: the salt is missing, 8 digits behind the key"
        case 56, 72: return "has \(digits.count) digits: keys of 192 and 256 bits are not carried by this version"
        default: return "has \(digits.count) digits"
        }
    }

    /// A relative name starts from the site file's directory.
    private func readKeyFile(_ name: String, at path: String) -> KeyDraft? {
        guard let expanded = credentials.expand(name) else {
            let credential = name.dropFirst(CredentialsDirectory.variable.count)
            problems.error(
                path, "\(name): CREDENTIALS_DIRECTORY is not set",
                hint: "systemd sets it: start vpn-gw by a unit with "
                    + "LoadCredentialEncrypted=\(credential):/etc/credstore.encrypted/\(credential)",
                exitCode: .noInput)
            return nil
        }
        let file = expanded.hasPrefix("/") ? expanded : directory + expanded
        switch files.read(file, SiteBuilder.longestKeyFile) {
        case .failure(let failure):
            problems.error(
                path, "\(name): \(failure.message)", hint: hint(forFailed: failure, name, file),
                exitCode: failure.exitCode)
            return nil
        case .success(var contents):
            defer { contents.wipe() }
            // systemd gives a credential to the unit's user by an ACL, whose mask shows as the group's bits.
            let isCredential = credentials.holds(file)
            if contents.permissions & (isCredential ? 0o004 : 0o044) != 0 {
                problems.error(
                    path,
                    "\(name) may be read by \(isCredential ? "anybody" : "group or others") "
                        + "(mode \(SiteBuilder.octal(contents.permissions)))",
                    hint: "chmod 600 \(name), and replace the key if somebody may have read it")
            }
            guard let key = MaskedText.key(inFile: contents.octets) else {
                problems.error(path, "\(name) does not hold a key in one line", hint: SiteBuilder.keyHint)
                return nil
            }
            return KeyDraft(path: path, key: key)
        }
    }

    private func hint(forFailed failure: FileReader.Failure, _ name: String, _ file: String) -> String {
        if failure.exitCode == .noPermission { return "chown the key file to the user that runs vpn-gw" }
        if credentials.holds(file) { return "the unit's LoadCredentialEncrypted= or LoadCredential= gives it its name" }
        if name.hasPrefix("$") { return "no variable but \(CredentialsDirectory.variable) is replaced" }
        return "the name counts from the site file's directory"
    }

    /// As `chmod` takes it: "0644".
    static func octal(_ permissions: UInt32) -> String {
        let digits = String(permissions, radix: 8)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }

    func judgeInlineKeys() {
        guard let first = inlineKeyPaths.first, permissions & 0o044 != 0 else { return }
        let count = inlineKeyPaths.count == 1 ? "a key stands" : "\(inlineKeyPaths.count) keys stand"
        let message = "\(count) in a file that group or others may read (mode \(SiteBuilder.octal(permissions)))"
        let hint = "chmod 600 the site file, or move the keys to key_file"
        if mode == .run {
            problems.error(first, message, hint: hint)
        } else {
            problems.warning(first, message, hint: hint + "; run mode refuses this")
        }
    }

    /// One key, one SA: with two SAs under one AES key, whatever the salts, two packets can have the same IV.
    func judgeKeys() {
        var seen: [KeyFingerprint: String] = [:]
        let children = tunnels.lazy.flatMap(\.children)
        for draft in children.flatMap({ [$0.outbound?.key, $0.inbound?.key] }).compactMap({ $0 }) {
            if let other = seen[draft.key.fingerprint] {
                problems.error(
                    draft.path, "the same AES key as \(other)",
                    hint:
                        "each SA needs a key of its own, a different salt is not enough: vpn-gw keygen"
                )
            } else {
                seen[draft.key.fingerprint] = draft.path
            }
        }
    }
}
