/// FNV-1a (64 bits) of a row's values. No change to a single octet leaves it the same.
struct Checksum {
    /// What kind of row it is: none passes for another kind.
    enum Kind: UInt8 { case association = 1, vectors, store, burned, audit }

    private var sum: UInt64 = 0xcbf2_9ce4_8422_2325

    init(_ kind: Kind) { add(kind.rawValue) }

    /// As SQLite keeps it.
    var value: Int64 { Int64(bitPattern: sum) }

    private mutating func add(_ octet: UInt8) { sum = (sum ^ UInt64(octet)) &* 0x100_0000_01b3 }

    mutating func add(_ number: Int64) {
        let word = UInt64(bitPattern: number)
        for shift: UInt64 in stride(from: 0, to: 64, by: 8) { add(UInt8(truncatingIfNeeded: word >> shift)) }
    }

    /// With its length, so that of two texts neither can take over a part of the other.
    mutating func add(_ text: String) { add(text.utf8) }

    private mutating func add(_ text: some Collection<UInt8>) {
        add(Int64(text.count))
        for octet in text { add(octet) }
    }

    /// Of a row that is a fingerprint and numbers.
    static func ofRow(_ kind: Kind, _ fingerprint: some Collection<UInt8>, _ numbers: [Int64]) -> Int64 {
        var sum = Checksum(kind)
        sum.add(fingerprint)
        for number in numbers { sum.add(number) }
        return sum.value
    }
}
