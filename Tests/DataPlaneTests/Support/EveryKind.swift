import ESP
import IPsec
import SeededRandom

@testable import DataPlane

/// Two gateways with a tunnel of every kind between them: ESP and AH, in UDP, with extended sequence numbers, over IPv4
/// and IPv6; each carries both families.
///
///     10.0.1.0/24, fd00:1::/64 -- lan [near] wan == wan [far] lan -- 10.64+N.0.0/24, fd01:N::/64 of tunnel N
enum EveryKind {
    static let lan = 0, wan = 1

    static let profiles: [AssociationProfile] = {
        func profile(_ algorithm: Algorithm?, udp: Bool = false, extended: Bool = false) -> AssociationProfile {
            var profile = AssociationProfile()
            profile.algorithm = algorithm ?? .aes128GCM16
            profile.natTraversal = udp
            profile.extendedSequenceNumbers = extended
            return profile
        }
        return [
            profile(.aes128GCM16), profile(.aes128GCM16, udp: true), profile(.aes128GCM16, extended: true),
            profile(Algorithm(.chaCha20Poly1305), udp: true, extended: true), profile(Algorithm(.aes256GMAC)),
            profile(Algorithm(.authenticationHMACSHA256)),
            profile(Algorithm(.authenticationAES128GMAC), extended: true),
        ]
    }()

    static let families = IPFamily.allCases
    static let count = profiles.count * families.count

    /// The profile and the outer family of a tunnel.
    static func kind(_ number: Int) -> (profile: AssociationProfile, outer: IPFamily) {
        (profiles[number / families.count], families[number % families.count])
    }

    static func site(isFar: Bool) throws -> Topology {
        let tunnels = try (0..<count).map { number in
            let (profile, outer) = kind(number)
            let ends =
                outer == .v4
                ? [address("192.0.2.1"), address("192.0.2.2")] : [address("2001:db8::1"), address("2001:db8::2")]
            let blocks = [
                [prefix("10.0.1.0/24"), prefix("fd00:1::/64")],
                [prefix("10.\(64 + number).0.0/24"), prefix("fd01:\(number + 1)::/64")],
            ]
            let (here, there) = isFar ? (1, 0) : (0, 1), seed = UInt64(1000 + 2 * number)
            var made = try tunnel(
                number, local: ends[here], remote: ends[there], localSubnets: blocks[here],
                remoteSubnets: blocks[there], innerMTU: profile.innerMTUOctets(linkMTU: 1500, outer: outer),
                isReversed: isFar, keys: (key(seed, for: profile.algorithm), key(seed + 1, for: profile.algorithm)))
            made.profile = profile
            return made
        }
        return Topology(
            ports: [
                port("lan", .protected, isFar ? ["10.64.0.1/10", "fd01::1/16"] : ["10.0.1.1/24", "fd00:1::1/64"]),
                port(
                    "wan", .unprotected,
                    isFar ? ["192.0.2.2/24", "2001:db8::2/64"] : ["192.0.2.1/24", "2001:db8::1/64"]),
            ], routes: [], neighbors: [], tunnels: tunnels, policies: [])
    }

    /// Where the ESP header or AH of an outer packet begins, and whether that is an AH; nil for anything else.
    static func protection(_ packet: [UInt8]) -> (start: Int, isAH: Bool)? {
        guard let first = packet.first else { return nil }
        let isIPv6 = first >> 4 == 6, header = isIPv6 ? 40 : 20
        guard packet.count > header + 8 else { return nil }
        switch packet[isIPv6 ? 6 : 9] {
        case 50: return (header, false)
        case 51: return (header, true)
        case 17 where Packet.uint16(packet, at: header + 2) == 4500 && Packet.uint32(packet, at: header + 8) != 0:
            return (header + 8, false)
        default: return nil
        }
    }

    /// What is wrong with a frame of the unprotected port: it must be what one of the tunnels sends, of its kind. Nil
    /// when nothing is.
    static func complaint(outside frame: [UInt8], _ site: Topology) -> String? {
        let packet = Array(frame.dropFirst(14))
        guard let (start, isAH) = protection(packet) else { return "neither ESP nor AH" }
        let isIPv6 = packet[0] >> 4 == 6, spi = Packet.uint32(packet, at: start + (isAH ? 4 : 0))
        guard Packet.uint16(frame, at: 12) == (isIPv6 ? 0x86dd : 0x0800) else { return "the other family's type" }
        let length = isIPv6 ? 40 + Packet.uint16(packet, at: 4) : Packet.uint16(packet, at: 2)
        guard Int(length) == packet.count else { return "a length of \(length)" }
        if !isIPv6, onesComplementSum(packet.prefix(20)) != 0xffff { return "a bad header checksum" }
        guard let tunnel = site.tunnels.first(where: { $0.children[0].outbound.spi.rawValue == spi }) else {
            return "no tunnel's SPI"
        }
        let source = isIPv6 ? Packet.uint128(packet, at: 8) : UInt128(Packet.uint32(packet, at: 12))
        guard tunnel.localAddress.rawValue == source else { return "not from the tunnel's address" }
        guard isAH == (tunnel.profile.algorithm.securityProtocol == .ah) else { return "the other protocol" }
        guard tunnel.profile.natTraversal == (start == (isIPv6 ? 48 : 28)) else { return "UDP or none, wrongly" }
        // What encrypts leaves nothing to be read.
        let isHidden = tunnel.profile.algorithm.encrypts
        return isHidden && Traffic.bears(frame, Traffic.secret) ? "clear text" : nil
    }

    /// An outer packet's frame in `count` fragments, in order.
    static func fragments(_ frame: [UInt8], _ count: Int) -> [[UInt8]] {
        let packet = Array(frame.dropFirst(14)), isIPv6 = packet[0] >> 4 == 6, header = isIPv6 ? 40 : 20
        let body = Array(packet.dropFirst(header)), step = max(8, (body.count / count + 7) / 8 * 8)
        return stride(from: 0, to: body.count, by: step).map { offset in
            let part = Array(body[offset..<min(offset + step, body.count)]), isLast = offset + step >= body.count
            var made = Array(packet.prefix(header))
            if isIPv6 {
                made[6] = 44
                made.replaceSubrange(4..<6, with: bigEndian(UInt16(part.count + 8)))
                made += [packet[6], 0] + bigEndian(UInt16(offset) | (isLast ? 0 : 1)) + bigEndian(UInt32(7))
            } else {
                made.replaceSubrange(2..<4, with: bigEndian(UInt16(20 + part.count)))
                made.replaceSubrange(6..<8, with: bigEndian(UInt16(offset / 8) | (isLast ? 0 : 0x2000)))
                made.replaceSubrange(10..<12, with: [0, 0])
                made.replaceSubrange(10..<12, with: bigEndian(~onesComplementSum(made)))
            }
            return Array(frame.prefix(14)) + made + part
        }
    }
}
