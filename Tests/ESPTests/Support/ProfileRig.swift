import IPsec
import SeededRandom
import Wire

@testable import ESP

/// Both ends of one SA of any kind, with a worker's bursts: whole packets in, whole packets out.
struct ProfileRig: ~Copyable {
    static let capacity = 32
    static let local: [IPFamily: [UInt8]] = [
        .v4: [192, 0, 2, 1], .v6: [0x20, 1, 0xd, 0xb8] + [UInt8](repeating: 0, count: 11) + [1],
    ]
    static let remote: [IPFamily: [UInt8]] = [
        .v4: [198, 51, 100, 1], .v6: [0x20, 1, 0xd, 0xb8, 0xff, 0xff] + [UInt8](repeating: 0, count: 9) + [2],
    ]

    /// What became of a packet that came in.
    struct Opened: Equatable {
        var verdict: Verdict
        var family = IPFamily.v4
        var number: UInt64 = 0
        var offset = 0
        var advancesWindow = false
        var movesPeer = false
    }

    let profile: AssociationProfile
    let family: IPFamily
    let outbound: OutboundAssociationReference
    let inbound: InboundAssociationReference
    // SAs hold its address.
    private let key: ExpandedKey
    var crypto: SoftwareCrypto
    let attention = AttentionMap()
    var outboundBurst: OutboundBurst
    var inboundBurst: InboundBurst
    let buffers = BufferPool(count: ProfileRig.capacity)

    /// All numbers are granted. KEYMAT follows from `seed` where it is not given.
    init(
        _ profile: AssociationProfile, outer family: IPFamily = .v4, seed: UInt64 = 1, keyMaterial: [UInt8]? = nil,
        spi: UInt32 = 0x1001, window: Int = 64, behind: UInt64 = 0, remotePort: UInt16 = 4500
    ) throws {
        var random = SplitMix64(seed: seed)
        let octets = keyMaterial ?? random.octets(profile.algorithm.keyMaterialOctets)
        guard
            let material = unsafe octets.withUnsafeBytes({ unsafe KeyMaterial($0, for: profile.algorithm) }),
            let key = KeyArena()?.expand(material), let crypto = SoftwareCrypto()
        else { throw NoCrypto() }
        let (local, remote) = (ProfileRig.address(.v4, remote: false), ProfileRig.address(.v4, remote: true))
        let ends =
            family == .v4
            ? (local, remote) : (ProfileRig.address(.v6, remote: false), ProfileRig.address(.v6, remote: true))
        self.profile = profile
        self.family = family
        self.key = key
        self.crypto = crypto
        outbound = OutboundAssociationReference(
            OutboundSecurityAssociation(
                key: key, spi: SPI(rawValue: spi), profile: profile, local: ends.0, remote: ends.1, id: 7))
        inbound = InboundAssociationReference(
            InboundSecurityAssociation(
                key: key, profile: profile, local: ends.1, remote: ends.0, replayWindow: window, owner: 0, id: 65,
                behind: behind))
        outboundBurst = OutboundBurst(capacity: ProfileRig.capacity, attention: attention)
        inboundBurst = InboundBurst(capacity: ProfileRig.capacity, attention: attention, ticksPerSecond: 1000)
        outbound.with {
            $0.grant(sequence: profile.lastSequenceNumber, initializationVector: .max)
            if remotePort != 4500 { $0.moveRemote(to: ends.1, port: remotePort) }
        }
        inbound.with { $0.setCeiling(.max, notice: .max) }
    }

    deinit {
        outbound.destroy()
        inbound.destroy()
    }

    static func address(_ family: IPFamily, remote: Bool) -> IPAddress {
        let octets = (remote ? self.remote : local)[family] ?? []
        let number = octets.reduce(UInt128(0)) { $0 << 8 | UInt128($1) }
        return family == .v4 ? IPAddress(v4: UInt32(number)) : IPAddress(v6: number)
    }

    /// The next packet gets this number, and this IV.
    mutating func goOn(with sequence: UInt64, vector: UInt64? = nil) {
        outbound.with {
            $0.resume(behindSequence: sequence - 1, behindInitializationVector: (vector ?? sequence) - 1)
            $0.grant(sequence: profile.lastSequenceNumber, initializationVector: .max)
        }
    }

    /// Protects a burst.
    mutating func protect(_ packets: [[UInt8]], headRoom: Int = OutboundBurst.maximumHeadOctets) -> [Verdict] {
        outboundBurst.removeAll()
        let filled = packets.enumerated().map { buffers.filled($0, with: $1, at: headRoom) }
        for (index, packet) in packets.enumerated() {
            outboundBurst.append(
                buffer: filled[index], offset: headRoom, length: packet.count, association: outbound, tag: index)
        }
        outboundBurst.prepare()
        crypto.submit(outboundBurst)
        precondition(crypto.collect() == outboundBurst.jobs.count)
        outboundBurst.finish()
        return packets.indices.map { index in
            let packet = outboundBurst[index]
            if let reason = packet.failure {
                // One that failed is as it was.
                precondition(filled[index].dropFirst(headRoom).prefix(packets[index].count).octets == packets[index])
                return .dropped(reason)
            }
            return .passed(filled[index].dropFirst(packet.offset).prefix(packet.length).octets)
        }
    }

    mutating func protect(_ packet: [UInt8]) -> Verdict { protect([packet])[0] }

    /// Where ESP or AH begins, found with eyes of its own.
    func start(of packet: [UInt8]) -> Int {
        var offset = packet.count > 0 && packet[0] >> 4 == 4 ? Int(packet[0] & 15) * 4 : 40
        if packet.count > 40, packet[0] >> 4 == 6 {
            var next = packet[6]
            while [0, 43, 44, 60].contains(next), offset + 8 <= packet.count {
                next = packet[offset]
                offset += (Int(packet[offset + 1]) + 1) * 8
            }
        }
        return min(offset + (profile.natTraversal ? 8 : 0), packet.count)
    }

    /// Opens a burst; `start` where it is not to be found.
    mutating func open(
        _ packets: [[UInt8]], start: Int? = nil, sourceDiffers: Bool = false, now: UInt64 = 0
    ) -> [Opened] {
        inboundBurst.removeAll()
        for (index, packet) in packets.enumerated() {
            inboundBurst.append(
                packet: buffers.filled(index, with: packet, at: 2).dropFirst(2).prefix(packet.count),
                start: start ?? self.start(of: packet), association: inbound, tag: index, sourceDiffers: sourceDiffers)
        }
        inboundBurst.prepare()
        inboundBurst.resynchronize(&crypto)
        crypto.submit(inboundBurst)
        precondition(crypto.collect() == inboundBurst.jobs.count)
        inboundBurst.finish(now: now)
        return packets.indices.map { opened($0) }
    }

    private func opened(_ index: Int) -> Opened {
        let packet = inboundBurst[index]
        if let failure = packet.failure {
            return Opened(verdict: .dropped(failure), movesPeer: packet.movesPeer)
        }
        return Opened(
            verdict: .passed(packet.bytes.octets), family: packet.family, number: packet.number, offset: packet.offset,
            advancesWindow: packet.advancesWindow, movesPeer: packet.movesPeer)
    }

    mutating func open(_ packet: [UInt8], sourceDiffers: Bool = false, now: UInt64 = 0) -> Verdict {
        open([packet], sourceDiffers: sourceDiffers, now: now)[0].verdict
    }

    /// Passes packets that the last burst said were ahead.
    mutating func passOpened() -> [Opened] {
        let packets = (0..<inboundBurst.count).map { inboundBurst[$0] }
        inboundBurst.removeAll()
        for (index, packet) in packets.enumerated() where packet.failure == .ahead {
            inboundBurst.append(
                opened: packet.bytes, start: packet.offset, number: packet.number, association: inbound, tag: index)
        }
        inboundBurst.finishOpened()
        return (0..<inboundBurst.count).map { opened($0) }
    }

    /// What a packet may change of the inbound SA, apart from the bits of the window.
    var state: AssociationPair.InboundState {
        inbound.with { association in
            AssociationPair.InboundState(
                highest: association.window.highest, packets: association.packets.load(ordering: .relaxed),
                octets: association.octets.load(ordering: .relaxed))
        }
    }
}

/// An IPv6 packet of `octets` octets with a random payload, of protocol 253.
func innerPacketV6(octets: Int, trafficClass: UInt8 = 0, using random: inout SplitMix64) -> [UInt8] {
    let first = 0x6000_0000 | UInt32(trafficClass) << 20 | UInt32.random(in: 0...0xf_ffff, using: &random)
    return bigEndian(first) + bigEndian(UInt16(octets - 40)) + [253, 9] + random.octets(32) + random.octets(octets - 40)
}

/// A packet of a family, with addresses and a protocol that transport mode may have between the rig's ends.
func packet(_ family: IPFamily, octets: Int, using random: inout SplitMix64) -> [UInt8] {
    family == .v4 ? innerPacket(octets: octets, using: &random) : innerPacketV6(octets: octets, using: &random)
}

/// Every profile that a tunnel may have, but for marks.
func everyProfile() -> [(profile: AssociationProfile, name: String)] {
    var all: [(AssociationProfile, String)] = []
    for algorithm in Algorithm.all {
        for mode in AssociationProfile.Mode.allCases {
            for isExtended in [false, true] {
                for isTraversing in algorithm.securityProtocol == .esp ? [false, true] : [false] {
                    var profile = AssociationProfile()
                    profile.algorithm = algorithm
                    profile.mode = mode
                    profile.extendedSequenceNumbers = isExtended
                    profile.natTraversal = isTraversing
                    all.append(
                        (profile, "\(algorithm) \(mode)\(isExtended ? " ESN" : "")\(isTraversing ? " UDP" : "")"))
                }
            }
        }
    }
    return all
}
