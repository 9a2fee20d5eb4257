import Foundation
import IPsec
import SeededRandom
import Testing

@testable import ESP

/// One line of `Vectors/packets.txt`; `generate-packets.py` says what its fields are.
private struct PacketVector {
    let name: String
    let profile: AssociationProfile
    let family: IPFamily
    let port: UInt16
    let keyMaterial: [UInt8]
    let spi: UInt32
    let number, vector: UInt64
    let before, after: [UInt8]

    init(_ line: Substring) throws {
        let fields = line.split(separator: " ")
        try #require(fields.count == 17)
        name = String(fields[0])
        var profile = AssociationProfile()
        profile.algorithm = try #require(Algorithm(name: fields[1]))
        profile.mode = try #require(AssociationProfile.Mode(rawValue: String(fields[2])))
        family = fields[3] == "4" ? .v4 : .v6
        profile.extendedSequenceNumbers = fields[4] == "esn"
        port = try #require(UInt16(fields[5]))
        profile.natTraversal = port > 0
        profile.tfcPaddingOctets = try #require(Int(fields[6]))
        if let codePoint = UInt8(fields[7]) { profile.dscp = .fixed(codePoint) }
        profile.dontFragment = try #require(AssociationProfile.DontFragment(rawValue: String(fields[8])))
        self.profile = profile
        keyMaterial = octets(hexadecimal: fields[9])
        spi = try #require(UInt32(fields[10]))
        number = try #require(UInt64(fields[11]))
        vector = try #require(UInt64(fields[12]))
        before = octets(hexadecimal: fields[15])
        after = octets(hexadecimal: fields[16])
    }

    static func all() throws -> [PacketVector] {
        let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
            "Vectors/packets.txt")
        return try String(contentsOf: url, encoding: .utf8).split(separator: "\n").map { try PacketVector($0) }
    }

    /// A rig at the vector's numbers. A receiver has just seen the number before.
    func rig() throws -> ProfileRig {
        var rig = try ProfileRig(
            profile, outer: family, keyMaterial: keyMaterial, spi: spi, behind: number - 1,
            remotePort: port > 0 ? port : 4500)
        rig.goOn(with: number, vector: vector)
        return rig
    }
}

// RFC 4303, RFC 4302, RFC 4106, RFC 4543, RFC 7634, RFC 3948: scapy's packets are the answers.
@Suite("Whole packets as scapy makes them")
struct PacketVectorTests {
    @Test("out: every octet; and in again, once")
    func everyVector() throws {
        let vectors = try PacketVector.all()
        #expect(vectors.count == 463 && Set(vectors.map(\.name)).count == vectors.count)
        for vector in vectors {
            var rig = try vector.rig()
            let sent = rig.protect(vector.before)
            #expect(sent == .passed(vector.after), "\(vector.name)")

            let opened = rig.open([vector.after])[0]
            let isTunnel = vector.profile.mode == .tunnel
            let padding = isTunnel ? max(0, vector.profile.tfcPaddingOctets - vector.before.count) : 0
            #expect(opened.verdict == .passed(vector.before + [UInt8](repeating: 0, count: padding)), "\(vector.name)")
            #expect(opened.number == vector.number && opened.advancesWindow && !opened.movesPeer, "\(vector.name)")
            #expect(opened.family.rawValue == vector.before[0] >> 4, "\(vector.name)")
            #expect(rig.open(vector.after) == .dropped(.replayed), "\(vector.name)")
        }
    }

    /// Bits that may change on the way without an AH's receiver minding, of a packet without options.
    private static func mutableBits(_ packet: [UInt8]) -> [UInt8] {
        var mask = [UInt8](repeating: 0, count: packet.count)
        if packet[0] >> 4 == 4 {
            // Type of service, flags and fragment offset, TTL, checksum; a fragment is another matter.
            (mask[1], mask[6], mask[8], mask[10], mask[11]) = (0xff, 0xc0, 0xff, 0xff, 0xff)
        } else {
            // Traffic class and flow label, hop limit.
            (mask[0], mask[1], mask[2], mask[3], mask[7]) = (0x0f, 0xff, 0xff, 0xff, 0xff)
        }
        return mask
    }

    // RFC 4302 3.3.3.1 and 3.4.4
    @Test("AH: what may change on the way may, and nothing else")
    func mutableFields() throws {
        let vectors = try PacketVector.all().filter {
            $0.profile.algorithm.securityProtocol == .ah && !$0.name.contains("extended")
        }
        #expect(vectors.count == 24)
        for vector in vectors {
            let mask = PacketVectorTests.mutableBits(vector.after), start = vector.family == .v4 ? 20 : 40
            for bit in 0..<vector.after.count * 8 {
                var changed = vector.after
                changed[bit / 8] ^= 0x80 >> UInt8(bit % 8)
                var rig = try vector.rig()
                let verdict = rig.open([changed], start: start)[0].verdict
                let isMutable = mask[bit / 8] & 0x80 >> UInt8(bit % 8) != 0
                if isMutable {
                    #expect(verdict.octets.count == vector.before.count, "\(vector.name), bit \(bit)")
                } else {
                    #expect(verdict.octets.isEmpty && verdict != .passed([]), "\(vector.name), bit \(bit)")
                    #expect(rig.state.highest == vector.number - 1, "\(vector.name), bit \(bit)")
                }
            }
        }
    }

    // RFC 4302 appendix A: options.
    @Test("AH: mutable options may change on the way, immutable ones may not")
    func options() throws {
        for vector in try PacketVector.all()
        where vector.profile.algorithm.securityProtocol == .ah && vector.name.contains("extended") {
            // Record route is octets 21 to 27, router alert 28 to 31; the unknown option's data with the bit set is
            // eight octets from 48, behind a router alert in 42 to 45.
            let (mutable, immutable) = vector.family == .v4 ? (22...27, 28...31) : (48...55, 42...47)
            for offset in mutable {
                var changed = vector.after
                changed[offset] ^= 0x55
                // What a record route says of its length must hold for anybody to read on.
                if vector.family == .v4 && offset == 22 { continue }
                var rig = try vector.rig()
                #expect(rig.open(changed).octets.count == vector.before.count, "\(vector.name), octet \(offset)")
            }
            for offset in immutable {
                var changed = vector.after
                changed[offset] ^= 0x01
                var rig = try vector.rig()
                #expect(rig.open(changed).octets.isEmpty, "\(vector.name), octet \(offset)")
            }
        }
    }

    @Test("ESP: a bit of every octet from the SPI on, whatever the profile")
    func flippedBits() throws {
        for vector in try PacketVector.all() where vector.profile.algorithm.securityProtocol == .esp {
            var rig = try vector.rig()
            let start = rig.start(of: vector.after), state = rig.state
            for offset in start..<vector.after.count {
                var changed = vector.after
                changed[offset] ^= 0x80 >> UInt8(offset * 5 % 8)
                guard case .dropped(let reason) = rig.open(changed) else {
                    Issue.record("\(vector.name), octet \(offset) passed")
                    break
                }
                // A flip in the sequence number may make it an old one, all of which are taken.
                #expect(
                    reason == .integrityFailed
                        || (start + 4..<start + 8).contains(offset) && [.late, .replayed].contains(reason),
                    "\(vector.name), octet \(offset): \(reason)")
            }
            #expect(rig.state == state, "\(vector.name)")
            #expect(rig.open(vector.after).octets.count >= vector.before.count, "\(vector.name)")
        }
    }

    @Test("every length but its own, behind and before what protects it")
    func truncated() throws {
        for vector in try PacketVector.all() {
            var rig = try vector.rig()
            let state = rig.state, own = rig.start(of: vector.after)
            for count in 0..<vector.after.count {
                let cut = [UInt8](vector.after.prefix(count))
                // With the header's lengths as they were, and where it would begin.
                let verdict = rig.open([cut], start: min(own, count))[0].verdict
                #expect(verdict.octets.isEmpty && verdict != .passed([]), "\(vector.name), \(count) octets")
            }
            for start in 0...min(own + 20, vector.after.count) where start != own {
                let verdict = rig.open([vector.after], start: start)[0].verdict
                #expect(verdict.octets.isEmpty && verdict != .passed([]), "\(vector.name), start \(start)")
            }
            #expect(rig.state == state, "\(vector.name)")
        }
    }
}
