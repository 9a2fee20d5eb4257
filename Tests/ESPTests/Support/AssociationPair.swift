import IPsec
import SeededRandom
import Synchronization

@testable import ESP

/// Both ends of one SA: what goes out under `outbound` comes in under `inbound`.
final class AssociationPair {
    static let local: [UInt8] = [192, 0, 2, 1], remote: [UInt8] = [198, 51, 100, 1]

    let spi: SPI
    let aesKey: [UInt8]
    let salt: [UInt8]
    let outbound: OutboundAssociationReference
    let inbound: InboundAssociationReference
    // SAs hold its address.
    private let key: ExpandedKey

    /// Key, salt and SPI follow from `seed` where they are not given; all numbers are granted.
    init(
        seed: UInt64, spi: UInt32? = nil, aesKey: [UInt8]? = nil, salt: [UInt8]? = nil, replayWindow: Int = 64,
        granted: UInt64 = UInt64(UInt32.max), behind: UInt64 = 0
    ) throws {
        var random = SplitMix64(seed: seed)
        self.aesKey = aesKey ?? random.octets(16)
        self.salt = salt ?? random.octets(4)
        self.spi = SPI(rawValue: spi ?? UInt32.random(in: 256...UInt32.max, using: &random))
        guard
            let material = unsafe (self.aesKey + self.salt).withUnsafeBytes({
                unsafe KeyMaterial($0, for: .aes128GCM16)
            }),
            let key = KeyArena()?.expand(material)
        else { throw NoCrypto() }
        let local = IPAddress(v4: AssociationPair.local.reduce(0) { $0 << 8 | UInt32($1) })
        let remote = IPAddress(v4: AssociationPair.remote.reduce(0) { $0 << 8 | UInt32($1) })
        outbound = OutboundAssociationReference(
            OutboundSecurityAssociation(
                key: key, spi: self.spi, local: local, remote: remote, id: 7))
        inbound = InboundAssociationReference(
            InboundSecurityAssociation(
                key: key, local: remote, remote: local, replayWindow: replayWindow, owner: 0, id: 65,
                behind: behind))
        self.key = key
        if granted > 0 { outbound.with { $0.grant(sequence: granted, initializationVector: granted) } }
        inbound.with { $0.setCeiling(.max, notice: .max) }
    }

    deinit {
        outbound.destroy()
        inbound.destroy()
    }

    /// An ESP packet around `text` that this SA's receiver finds authentic, whatever `text` is.
    func seal(_ text: [UInt8], sequence: UInt32, iv: UInt64 = 1, with gcm: borrowing DirectGCM) -> [UInt8] {
        let header = bigEndian(spi.rawValue) + bigEndian(sequence)
        let sealed = gcm.seal(key: aesKey, nonce: salt + bigEndian(iv), aad: header, text: text)
        return header + bigEndian(iv) + sealed.text + sealed.icv
    }

    /// What a packet may change of an inbound SA, apart from the bits of the window.
    struct InboundState: Equatable {
        var highest: UInt64 = 0, packets: UInt64 = 0, octets: UInt64 = 0
    }

    var inboundState: InboundState {
        inbound.with { association in
            InboundState(
                highest: association.window.highest, packets: association.packets.load(ordering: .relaxed),
                octets: association.octets.load(ordering: .relaxed))
        }
    }

    /// What a packet may change of an outbound SA.
    struct OutboundState: Equatable {
        var sequence: UInt64 = 0, vector: UInt64 = 0, packets: UInt64 = 0, octets: UInt64 = 0
        var identification: UInt16 = 0
    }

    var outboundState: OutboundState {
        outbound.with { association in
            OutboundState(
                sequence: association.sequenceNumber.load(ordering: .relaxed),
                vector: association.initializationVector,
                packets: association.packets,
                octets: association.octets.load(ordering: .relaxed),
                identification: UInt16(truncatingIfNeeded: association.identification))
        }
    }
}
