import ESP
import IPsec

/// Where keys come from, and that each has one SA.
extension SiteBuilder {
    private static let longestKeyFile = 4096

    /// The key of an SA's table; `algorithm` is nil when what stands there for it was told of, and then nothing is said
    /// of the key's length.
    func readKey(_ table: ConfigurationTable, _ algorithm: Algorithm?) -> KeyDraft? {
        let isInline = table.has("key"), isFile = table.has("key_file")
        if isInline && isFile {
            problems.error(table.path("key_file"), "key and key_file are both given", hint: "remove one of the two")
        }
        if let text = table.string("key") {
            let path = table.path("key")
            inlineKeyPaths.append(path)
            guard let algorithm else { return nil }
            guard let key = masked.key(text, for: algorithm) else {
                problems.error(
                    path, whatIsWrong(withKey: text, for: algorithm), hint: SiteBuilder.keyHint(algorithm))
                return nil
            }
            return KeyDraft(path: path, key: key)
        }
        if let name = table.string("key_file") { return readKeyFile(name, at: table.path("key_file"), algorithm) }
        // An empty or mistyped value has been told of.
        if !isInline && !isFile && !table.isAsked("key") && !table.isAsked("key_file") {
            problems.error(
                table.path, "has no key", hint: "key_file = \"keys/site-b-out.key\"; vpn-gw keygen makes a key")
        }
        return nil
    }

    /// "aes-256-gcm-16 takes 72 digits: 64 of key, 8 of salt".
    static func keyHint(_ algorithm: Algorithm) -> String {
        let salt =
            algorithm.saltOctets == 0 ? "" : ": \(2 * algorithm.keyOctets) of key, \(2 * algorithm.saltOctets) of salt"
        return "\(algorithm) takes \(2 * algorithm.keyMaterialOctets) digits\(salt), behind \"0x\", as vpn-gw keygen "
            + "--algorithm \(algorithm) makes them"
    }

    /// Says what is wrong with what stands where a key should, in words that hold nothing of it.
    private func whatIsWrong(withKey text: String, for algorithm: Algorithm) -> String {
        if let octets = masked.keyOctets(text) {
            return SiteBuilder.whatIsWrong(withDigits: 2 * octets, for: algorithm)
        }
        guard text.hasPrefix("0x") else { return "does not begin with 0x" }
        let digits = text.dropFirst(2)
        guard digits.allSatisfy(\.isHexDigit) else { return "has characters that are no hexadecimal digits" }
        return SiteBuilder.whatIsWrong(withDigits: digits.count, for: algorithm)
    }

    private static func whatIsWrong(withDigits digits: Int, for algorithm: Algorithm) -> String {
        let isSaltMissing = algorithm.saltOctets > 0 && digits == 2 * algorithm.keyOctets
        return "has \(digits) digits" + (isSaltMissing ? ": the salt is missing, 8 digits behind the key" : "")
    }

    /// A relative name starts from the site file's directory.
    private func readKeyFile(_ name: String, at path: String, _ algorithm: Algorithm?) -> KeyDraft? {
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
            guard let algorithm else { return nil }
            switch MaskedText.key(inFile: contents.octets, for: algorithm) {
            case .key(let key): return KeyDraft(path: path, key: key)
            case .otherSize(let octets):
                problems.error(
                    path, "\(name) \(SiteBuilder.whatIsWrong(withDigits: 2 * octets, for: algorithm))",
                    hint: SiteBuilder.keyHint(algorithm))
            case .none:
                problems.error(path, "\(name) does not hold a key in one line", hint: SiteBuilder.keyHint(algorithm))
            }
            return nil
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
    func judgeKeys(_ problems: ProblemList) {
        var seen: [KeyFingerprint: String] = [:]
        seen.reserveCapacity(2 * tunnels.reduce(0) { $0 + $1.children.count })
        func judge(_ draft: KeyDraft) {
            guard let other = seen.add(draft.path, for: draft.key.fingerprint) else { return }
            problems.error(
                draft.path, "the same key as \(other)",
                hint: "each SA needs a key of its own, a different salt is not enough: vpn-gw keygen")
        }
        for child in tunnels.lazy.flatMap(\.children) {
            if let key = child.outbound?.key { judge(key) }
            if let key = child.inbound?.key { judge(key) }
        }
    }
}
