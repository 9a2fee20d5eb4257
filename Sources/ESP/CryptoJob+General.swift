// Jobs of packets that are not plain, from where their parts lie.

import IPsec
import Wire

extension CryptoJob {
    /// For the ESP packet in `esp`, from its SPI to the end of its ICV, with its IV in place. `extendedNumber` is its
    /// sequence number where that has 64 bits.
    init(
        _ key: UnsafeMutableRawPointer, _ algorithm: Algorithm, salt: UInt32, esp: PacketBytes, extendedNumber: UInt64?,
        packet: Int
    ) {
        let text = ESPHeader.headerOctets &+ ESPHeader.ivOctets, end = esp.count &- algorithm.icvOctets
        // RFC 4543 3.3: without encryption, what would be encrypted is authenticated with the IV before it; SPI and
        // number come first, from the packet or in the long form.
        let data = algorithm.encrypts || extendedNumber == nil ? 0 : ESPHeader.headerOctets
        unsafe self.init(
            key: key, text: esp.unsafePointer(at: text), length: algorithm.encrypts ? end &- text : 0,
            associatedData: esp.unsafePointer(at: data),
            associatedDataOctets: algorithm.encrypts ? ESPHeader.headerOctets : end &- data,
            icv: esp.unsafePointer(at: end), icvOctets: algorithm.icvOctets,
            nonce: CryptoJob.nonce(salt: salt, iv: esp.word64(at: ESPHeader.headerOctets)),
            transform: algorithm.transform,
            extendedData: extendedNumber.map { CryptoJob.extendedData(spi: esp.word32(at: 0), sequence: $0) },
            packet: packet)
    }

    /// For a packet with an AH, all that may change on its way zero, and the ICV field too. `icv` is where the ICV goes
    /// or was put aside; `ivWord` the IV as it lies in memory, of an algorithm that has one.
    init(
        _ key: UnsafeMutableRawPointer, _ algorithm: Algorithm, salt: UInt32, ivWord: UInt64,
        authenticated: PacketBytes, icv: PacketBytes, extendedNumber: UInt64?, packet: Int
    ) {
        unsafe self.init(
            key: key, text: authenticated.unsafePointer(at: 0), length: 0,
            associatedData: authenticated.unsafePointer(at: 0), associatedDataOctets: authenticated.count,
            icv: icv.unsafePointer(at: 0), icvOctets: algorithm.icvOctets,
            nonce: CryptoJob.nonce(salt: salt, iv: ivWord), transform: algorithm.transform,
            trailingData: extendedNumber.map { CryptoJob.trailingData(sequence: $0) }, packet: packet)
    }

    /// Has it use another sequence number of 64 bits with the same low half.
    mutating func setExtendedNumber(_ number: UInt64) {
        if usesTrailingData {
            trailingData = CryptoJob.trailingData(sequence: number)
        } else {
            extendedData = CryptoJob.extendedData(spi: UInt32(truncatingIfNeeded: extendedData.0), sequence: number)
        }
    }
}
