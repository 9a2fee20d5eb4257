import Wire

/// Octets from hexadecimal digits; white space is for the reader.
func octets(_ text: String) -> [UInt8] {
    let digits = text.filter { !$0.isWhitespace }.map { digit in
        guard let value = digit.hexDigitValue else { preconditionFailure("\(text) is not hexadecimal") }
        return UInt8(value)
    }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

/// What `emit` leaves of `count` octets that were 0xa5.
func emitted(_ count: Int, _ emit: (PacketBytes) -> Void) -> [UInt8] {
    var buffer = [UInt8](repeating: 0xa5, count: count)
    buffer.withPacketBytes(emit)
    return buffer
}

/// RFC 1071 section 4.1, as plainly as it can be said: the sum in network order, an odd last octet followed by zero.
func naiveSum(_ octets: some Sequence<UInt8>) -> UInt16 {
    var sum = 0
    for (index, octet) in octets.enumerated() { sum += index % 2 == 0 ? Int(octet) << 8 : Int(octet) }
    while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
    return UInt16(sum)
}
