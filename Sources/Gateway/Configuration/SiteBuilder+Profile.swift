import IPsec

/// How the SAs of a tunnel treat packets: transform, mode, and what else both ends must agree on.
extension SiteBuilder {
    /// The profile as far as it could be read, and the transform where that could be: keys are judged by it.
    func readProfile(_ table: ConfigurationTable) -> (profile: AssociationProfile, algorithm: Algorithm?) {
        var profile = AssociationProfile()
        let algorithm = readAlgorithm(table)
        profile.algorithm = algorithm ?? profile.algorithm
        profile.mode = table.string("mode").flatMap(AssociationProfile.Mode.init) ?? profile.mode
        profile.extendedSequenceNumbers = table.boolean("extended_sequence_numbers") ?? false
        profile.natTraversal = table.boolean("nat_traversal") ?? false
        profile.dontFragment = table.string("df").flatMap(AssociationProfile.DontFragment.init) ?? profile.dontFragment
        profile.dscp = readDSCP(table) ?? profile.dscp
        profile.tfcPaddingOctets = table.integer("tfc_padding_octets") ?? 0
        if let algorithm { judgeAlgorithm(algorithm, table) }
        judgeTogether(profile, knowsAlgorithm: algorithm != nil, table)
        return (profile, algorithm)
    }

    // MARK: Transform

    private func readAlgorithm(_ table: ConfigurationTable) -> Algorithm? {
        let path = table.path("algorithm")
        var algorithm = Algorithm.aes128GCM16
        if let name = table.string("algorithm") {
            guard let named = Algorithm(name: name.lowercased()) else {
                let names = Algorithm.all.map(\.name), near = nearest(to: name, among: names)
                problems.error(
                    path, "there is no algorithm \"\(name)\"",
                    hint: near.map { "did you mean \"\($0)\"?" } ?? "there are \(names.joined(separator: ", "))")
                return nil
            }
            algorithm = named
        } else if table.isAsked("algorithm") {
            return nil
        }
        guard let octets = table.integer("icv_octets") else { return algorithm }
        guard [8, 12, 16].contains(octets) else {
            problems.error(table.path("icv_octets"), "\(octets) octets are no size of an ICV", hint: "8, 12 or 16")
            return algorithm
        }
        guard let sized = Algorithm(algorithm.transform, icvOctets: octets) else {
            problems.error(
                table.path("icv_octets"), "\(algorithm) has an ICV of \(algorithm.icvOctets) octets and no other",
                hint: "remove it; AES-GCM for ESP alone has three sizes (RFC 4106 section 6)")
            return algorithm
        }
        return sized
    }

    /// What works and is no good idea.
    private func judgeAlgorithm(_ algorithm: Algorithm, _ table: ConfigurationTable) {
        let path = table.path("algorithm")
        if algorithm.securityProtocol == .ah {
            problems.warning(
                path, "AH proves who sent a packet and hides nothing of it",
                hint: "RFC 8221 section 4 recommends ESP, with \"aes-128-gmac\" where packets must stay readable")
        } else if !algorithm.encrypts {
            problems.warning(
                path, "\(algorithm) proves who sent a packet and hides nothing of it",
                hint: "\"aes-128-gcm-16\" costs the same and encrypts as well")
        }
        if algorithm.icvOctets == 8 {
            problems.warning(
                table.path(table.has("icv_octets") ? "icv_octets" : "algorithm"),
                "an ICV of 8 octets makes forged packets 2^64 times as likely to pass as one of 16",
                hint: "\"\(algorithm.name.dropLast(2))-16\" is what every receiver takes (RFC 4106 section 6)")
        }
    }

    // MARK: Outer header

    /// Names of code points: RFC 2474 section 4.2.2, RFC 2597, RFC 3246, RFC 5865, RFC 8622.
    private static let codePoints: [String: UInt8] = {
        var names: [String: UInt8] = ["default": 0, "be": 0, "ef": 46, "voice-admit": 44, "le": 1]
        for selector in 0...7 as ClosedRange<UInt8> { names["cs\(selector)"] = selector << 3 }
        for flow in 1...4 as ClosedRange<UInt8> {
            for drop in 1...3 as ClosedRange<UInt8> { names["af\(flow)\(drop)"] = flow << 3 | drop << 1 }
        }
        return names
    }()

    /// "copy", a code point's name, or its number as integer or text.
    private func readDSCP(_ table: ConfigurationTable) -> AssociationProfile.DSCP? {
        let path = table.path("dscp"), hint = "\"copy\", 0 to 63, or a name: \"ef\", \"af41\", \"cs6\""
        switch table.values["dscp"] {
        case .integer(let number)?:
            if (0...63).contains(number) { return .fixed(UInt8(number)) }
            problems.error(path, "\(number) is no DSCP", hint: hint)
        case .string(let text)?:
            let word = text.lowercased()
            if word == "copy" { return .copy }
            if let point = SiteBuilder.codePoints[word] { return .fixed(point) }
            if word.first?.isNumber == true, let number = UInt8(word), number < 64 { return .fixed(number) }
            let near = nearest(to: word, among: SiteBuilder.codePoints.keys.sorted() + ["copy"])
            problems.error(
                path, "\"\(text)\" is no DSCP", hint: near.map { "did you mean \"\($0)\"?" } ?? hint)
        default: break
        }
        return nil
    }

    // MARK: What goes together

    private func judgeTogether(_ profile: AssociationProfile, knowsAlgorithm: Bool, _ table: ConfigurationTable) {
        let isTransport = profile.mode == .transport
        let isAH = knowsAlgorithm && profile.algorithm.securityProtocol == .ah
        if profile.natTraversal && isTransport {
            problems.error(
                table.path("nat_traversal"), "transport mode does not pass a NAT here",
                hint: "use mode = \"tunnel\": what a NAT changes of a packet's own addresses breaks its checksums "
                    + "(RFC 3948 section 3.1.2)")
        }
        if profile.natTraversal && isAH {
            problems.error(
                table.path("nat_traversal"), "AH can't pass a NAT: it protects the addresses that a NAT changes",
                hint: "use an algorithm of ESP (RFC 3715 section 2.1)")
        }
        if profile.tfcPaddingOctets > 0 && (isTransport || isAH) {
            problems.error(
                table.path("tfc_padding_octets"), "\(isAH ? "AH" : "transport mode") has no room for TFC padding",
                hint:
                    "remove it: the receiver tells padding by an inner packet's own length, so it takes ESP in tunnel "
                    + "mode (RFC 4303 section 2.7)")
        }
        guard isTransport else { return }
        for (key, isDefault) in [("df", profile.dontFragment == .copy), ("dscp", profile.dscp == .copy)]
        where !isDefault {
            problems.warning(
                table.path(key), "does nothing in transport mode", hint: "remove it: packets keep their own header")
        }
    }

    /// The longest padding that a packet can have.
    func judgePadding(_ profile: AssociationProfile, innerMTUOctets: Int, _ table: ConfigurationTable) {
        let path = table.path("tfc_padding_octets")
        guard profile.tfcPaddingOctets > innerMTUOctets, profile.mode == .tunnel else { return }
        problems.error(
            path, "\(profile.tfcPaddingOctets) is more than the tunnel's inner MTU of \(innerMTUOctets) octets",
            hint: "\(innerMTUOctets) at most; that makes all packets equally long")
    }
}
