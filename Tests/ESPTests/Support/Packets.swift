import SeededRandom

/// An IPv4 packet of `octets` octets with a random payload; its header is written octet by octet, not by `Wire`.
func innerPacket(
    octets: Int, typeOfService: UInt8 = 0, fragment: UInt16 = 0, using random: inout SplitMix64
) -> [UInt8] {
    let header = minimalIPv4Header(
        typeOfService: typeOfService, totalLength: octets, identification: UInt16(truncatingIfNeeded: random.next()),
        fragment: fragment, timeToLive: 17, ipProtocol: 253, source: [10, 0, 1, 1], destination: [10, 0, 2, 2])
    return header + random.octets(octets - header.count)
}

/// A header of 20 octets as RFC 791 section 3.1 draws it.
func minimalIPv4Header(
    typeOfService: UInt8, totalLength: Int, identification: UInt16, fragment: UInt16, timeToLive: UInt8,
    ipProtocol: UInt8, source: [UInt8], destination: [UInt8]
) -> [UInt8] {
    var header: [UInt8] = [0x45, typeOfService]
    header += bigEndian(UInt16(totalLength)) + bigEndian(identification) + bigEndian(fragment)
    header += [timeToLive, ipProtocol, 0, 0] + source + destination
    let checksum = bigEndian(~onesComplementSum(header))
    header[10] = checksum[0]
    header[11] = checksum[1]
    return header
}

/// RFC 1071 section 4.1, as plainly as it can be said.
func onesComplementSum(_ octets: [UInt8]) -> UInt16 {
    var sum = 0
    for (index, octet) in octets.enumerated() { sum += index % 2 == 0 ? Int(octet) << 8 : Int(octet) }
    while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
    return UInt16(sum)
}

func bigEndian(_ number: some FixedWidthInteger) -> [UInt8] {
    stride(from: number.bitWidth - 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: number >> $0) }
}

/// What ESP encrypts (RFC 4303 section 2): payload, padding, pad length and next header. The padding is 1, 2, 3, … up
/// to the alignment unless given, and its length is true unless given.
func espText(payload: [UInt8], padding: [UInt8]? = nil, padLength: UInt8? = nil, nextHeader: UInt8 = 4) -> [UInt8] {
    let missing = (4 - (payload.count + 2) % 4) % 4
    let padding = padding ?? (0..<missing).map { UInt8($0 + 1) }
    return payload + padding + [padLength ?? UInt8(padding.count), nextHeader]
}

/// Octets from hexadecimal digits; "-" is none.
func octets(hexadecimal text: some StringProtocol) -> [UInt8] {
    if text == "-" { return [] }
    let digits = text.utf8.map { digit in
        UInt8(String(UnicodeScalar(digit)), radix: 16) ?? { preconditionFailure("\(text) is not hexadecimal") }()
    }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}
