import ESP
import IPsec

/// Tunnels, their SAs and keys.
extension SiteBuilder {
    // MARK: [[tunnel]]

    func readTunnels() {
        var names: [String: String] = [:]
        for table in root.tables("tunnel") {
            var draft = TunnelDraft(path: table.path)
            draft.name = table.string("name")
            if let name = draft.name { judgeName(name, table, &names) }
            draft.localAddress = readLocalAddress(table)
            draft.remoteAddress = readRemoteAddress(table)
            draft.localSubnets = readSubnets("local_subnets", table)
            draft.remoteSubnets = readSubnets("remote_subnets", table)
            readOffload(table)
            draft.outbound = table.table("outbound").map(readSA)
            draft.inbound = table.table("inbound").map(readSA)
            draft.innerMTUOctets = draft.remoteAddress.flatMap { readInnerMTU(towards: $0, table) }
            tunnels.append(draft)
        }
        judgeSPIs()
        judgeKeys()
        judgeSelectors()
        if let first = tunnels.first {
            // RFC 8221 section 3: a manual key must not be used with a counter mode that restarts; RFC 4106 section 1.
            problems.warning(
                first.path,
                "static keys: nothing changes them by itself, and who learns one reads all its past traffic",
                hint:
                    "AES-GCM with manual keys goes against RFC 8221 section 3 and is safe only while no IV repeats: "
                    + "keep state_directory on a disk that is never rolled back, and replace both ends' keys in time"
            )
        }
    }

    private func readLocalAddress(_ table: ConfigurationTable) -> IPv4Address? {
        let path = table.path("local_address")
        guard let address = table.string("local_address").flatMap({ hostAddress($0, at: path) }) else { return nil }
        let unprotected = ports.filter { $0.role == .unprotected }.flatMap(\.addresses).map(\.address.address)
        if knowsPorts && !unprotected.contains(address) {
            let list = unprotected.prefix(8).map(\.description).joined(separator: ", ")
            problems.error(
                path, "\(address) is no address of an unprotected port",
                hint: list.isEmpty ? "there is no unprotected port" : "those are \(list)")
        }
        return address
    }

    private func readRemoteAddress(_ table: ConfigurationTable) -> IPv4Address? {
        let path = table.path("remote_address")
        guard let address = table.string("remote_address").flatMap({ hostAddress($0, at: path) }) else { return nil }
        if let own = ports.flatMap(\.addresses).first(where: { $0.address.address == address }) {
            problems.error(path, "\(address) is the gateway's own (\(own.path))", hint: "name the other end")
            return nil
        }
        if let own = ports.flatMap(\.addresses).first(where: { $0.address.broadcast == address }) {
            problems.error(path, "\(address) is the broadcast address of \(own.path)", hint: "name the other end")
            return nil
        }
        return address
    }

    private func readSubnets(_ key: String, _ table: ConfigurationTable) -> [IPv4Prefix] {
        if case .array([])? = table.values[key] {
            problems.error(
                table.path(key), "is empty", hint: "\(key) = [\"10.0.1.0/24\"]; every address is \"0.0.0.0/0\"")
        }
        var blocks: [IPv4Prefix] = []
        for (path, text) in table.strings(key) {
            guard let block = block(text, at: path) else { continue }
            if blocks.contains(block) {
                problems.error(path, "\(block) is there twice", hint: "remove one of the two")
            } else {
                blocks.append(block)
            }
        }
        return blocks
    }

    /// "off" and "auto" are accepted: this version encrypts in software, which both allow.
    private func readOffload(_ table: ConfigurationTable) {
        let path = table.path("offload"), choices = ["off", "auto"]
        func judge(_ text: String, at path: String) {
            if text == "required" {
                problems.error(
                    path, "offload = \"required\" is not carried by this version",
                    hint: "use \"auto\" or \"off\"; this version encrypts in software")
            } else if !choices.contains(text) {
                problems.error(
                    path, "\"\(text)\" is none of \"off\", \"auto\", \"required\"", hint: suggestion(text, choices))
            }
        }
        switch table.values["offload"] {
        case .string(let text)?: judge(text, at: path)
        case .table(let entries)?:
            for (key, value) in entries.sorted(by: { $0.key < $1.key }) {
                if !Direction.allCases.map(\.rawValue).contains(key) {
                    problems.error(
                        "\(path).\(key)", "unknown key",
                        hint: "offload = { outbound = \"auto\", inbound = \"off\" }")
                } else if case .string(let text) = value {
                    judge(text, at: "\(path).\(key)")
                } else {
                    problems.error(
                        "\(path).\(key)", "must be a string, not \(value.typeName)", hint: "\(key) = \"auto\"")
                }
            }
        default: break
        }
    }

    /// What is left of the MTU of the port that leads to the other end; nil after saying that no port does.
    private func readInnerMTU(towards address: IPv4Address, _ table: ConfigurationTable) -> Int? {
        guard let port = portTowards(address) else {
            if knowsRoutes {
                problems.error(
                    table.path("remote_address"), "there is no route to \(address)",
                    hint: "add a [[route]] whose destination holds it, by way of an unprotected port")
            }
            return nil
        }
        if ports[port].role == .protected {
            problems.error(
                table.path("remote_address"),
                "the route to \(address) leaves by \(ports[port].name ?? ports[port].path), a protected port",
                hint: "add a [[route]] by way of an unprotected port")
            return nil
        }
        return SiteBuilder.innerMTU(ofPort: ports[port].mtuOctets)
    }

    /// The largest inner packet that fits a path MTU, both in octets: less 20 of outer IPv4 header, 8 of ESP header, 8
    /// of IV, 2 of trailer and 16 of ICV, and of such a size that it needs no padding (RFC 4303 section 2.4: packet and
    /// trailer end on a multiple of 4).
    static func innerMTU(ofPort mtuOctets: Int) -> Int {
        let room = mtuOctets - 20 - 8 - 8 - 2 - 16
        return room - (room + 2) % 4
    }

    // MARK: SAs

    private func readSA(_ table: ConfigurationTable) -> SADraft {
        var draft = SADraft(path: table.path)
        if let number = table.integer("spi") {
            let path = table.path("spi")
            if number >= 0 && number < 256 {
                // RFC 4303 2.1: 0 is for local use, 1 to 255 are IANA's.
                problems.error(path, "SPI \(number) is reserved (RFC 4303 section 2.1)", hint: "use 256 or above")
            } else if let spi = UInt32(exactly: number) {
                draft.spi = SPI(rawValue: spi)
            } else {
                problems.error(path, "an SPI has 32 bits and can't hold this number", hint: "256 to 0xffffffff")
            }
        }
        draft.key = readKey(table)
        draft.replayWindowPackets = table.integer("replay_window_packets") ?? 1024
        if draft.replayWindowPackets.nonzeroBitCount != 1 {
            problems.error(
                table.path("replay_window_packets"), "\(draft.replayWindowPackets) is not a power of two",
                hint: "64, 128, 256, 512, 1024, 2048, 4096 or 8192")
        }
        return draft
    }

    private func judgeSPIs() {
        var inbound: [SPI: String] = [:], outbound: [IPv4Address: [SPI: String]] = [:]
        for tunnel in tunnels {
            if let sa = tunnel.inbound, let spi = sa.spi {
                if let other = inbound[spi] {
                    problems.error(
                        "\(sa.path).spi", "\(spi) is also the inbound SPI of \(other)",
                        hint: "an inbound packet's SA is told by its SPI alone: give each its own")
                } else {
                    inbound[spi] = sa.path
                }
            }
            if let sa = tunnel.outbound, let spi = sa.spi, let remote = tunnel.remoteAddress {
                if let other = outbound[remote]?[spi] {
                    problems.error(
                        "\(sa.path).spi", "\(spi) is also the SPI of \(other), to the same remote address",
                        hint: "the other end could not tell the two apart: give each its own")
                } else {
                    outbound[remote, default: [:]][spi] = sa.path
                }
            }
        }
    }

    // MARK: Keys

    private static let longestKeyFile = 4096

    private func readKey(_ table: ConfigurationTable) -> KeyDraft? {
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
        switch files.read(name.hasPrefix("/") ? name : directory + name, SiteBuilder.longestKeyFile) {
        case .failure(let failure):
            problems.error(
                path, "\(name): \(failure.message)",
                hint: failure.exitCode == .noPermission
                    ? "chown the key file to the user that runs vpn-gw"
                    : "the name counts from the site file's directory",
                exitCode: failure.exitCode)
            return nil
        case .success(var contents):
            defer { contents.wipe() }
            if contents.isReadableByOthers {
                problems.error(
                    path, "\(name) may be read by group or others (mode \(SiteBuilder.octal(contents.permissions)))",
                    hint: "chmod 600 \(name), and replace the key if somebody may have read it")
            }
            guard let key = MaskedText.key(inFile: contents.octets) else {
                problems.error(path, "\(name) does not hold a key in one line", hint: SiteBuilder.keyHint)
                return nil
            }
            return KeyDraft(path: path, key: key)
        }
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
    private func judgeKeys() {
        var seen: [KeyFingerprint: String] = [:]
        for draft in tunnels.flatMap({ [$0.outbound?.key, $0.inbound?.key] }).compactMap({ $0 }) {
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

    // MARK: Selectors

    /// Traffic that two tunnels both claim. The SPD is looked at in order, so the earlier tunnel has all of it.
    private func judgeSelectors() {
        for (index, tunnel) in tunnels.enumerated() {
            for earlier in tunnels[..<index] {
                guard let remote = SiteBuilder.overlap(earlier.remoteSubnets, tunnel.remoteSubnets),
                    let local = SiteBuilder.overlap(earlier.localSubnets, tunnel.localSubnets)
                else { continue }
                let path = "\(tunnel.path).remote_subnets", name = earlier.name ?? earlier.path
                if remote.isEqual && local.isEqual {
                    problems.error(
                        path, "\(local.blocks.1) to \(remote.blocks.1) is also what tunnel \"\(name)\" protects",
                        hint: "traffic takes one tunnel: remove the pair from one of the two")
                } else {
                    problems.warning(
                        path,
                        "\(local.blocks.1) to \(remote.blocks.1) overlaps \(local.blocks.0) to \(remote.blocks.0) of "
                            + "tunnel \"\(name)\", which stands earlier in the file and has all they share",
                        hint:
                            "unlike routes, the more specific selector does not win: put the tunnel with the narrower "
                            + "blocks first")
                }
            }
        }
    }

    /// Two blocks of the lists that share addresses, equal ones if there are any.
    private static func overlap(
        _ left: [IPv4Prefix], _ right: [IPv4Prefix]
    ) -> (blocks: (IPv4Prefix, IPv4Prefix), isEqual: Bool)? {
        var found: (IPv4Prefix, IPv4Prefix)?
        for one in left {
            for other in right where one.overlaps(other) {
                if one == other { return ((one, other), true) }
                found = found ?? (one, other)
            }
        }
        return found.map { ($0, false) }
    }
}
