extension KeyMaterial {
    /// Part of KEYMAT as hexadecimal digits, for `vpn-gw export --with-keys` and nothing else: an operator asks for the
    /// text of a key, and gets a copy that is wiped by nobody. `range` counts octets; traps beyond what a key of the
    /// SA's algorithm has.
    public func revealedDigits(_ range: Range<Int>) -> String {
        precondition(range.lowerBound >= 0 && range.upperBound <= 64)
        var text = ""
        for index in range {
            let octet = unsafe secret.load(fromByteOffset: index, as: UInt8.self)
            text += String(octet >> 4, radix: 16) + String(octet & 15, radix: 16)
        }
        return text
    }
}
