import ESP
import Glibc
import IPsec

/// A site file's text with its keys taken out.
///
/// The TOML parser copies every string that is read and never frees it, and its error messages quote the text. So it
/// never sees a key: before parsing, each string that may be one ("0x" and as many hexadecimal digits as an algorithm's
/// key has, in quotes) becomes a placeholder of private-use characters, and the key itself waits here, wiped with the
/// last reference. Lines stay where they were.
final class MaskedText {
    /// The text for the parser.
    let text: [UInt8]
    private var secrets: [UInt8]
    /// Where each secret lies.
    private let ranges: [Range<Int>]

    /// Octets that keys have, of all algorithms.
    static let keySizes = Set(Algorithm.all.map(\.keyMaterialOctets))
    private static let mostOctets = keySizes.max() ?? 0
    private static let mark = "\u{e000}"

    /// Takes the octets of a file, which the caller wipes.
    init(_ octets: [UInt8]) {
        var text: [UInt8] = []
        text.reserveCapacity(octets.count)
        // Room for every key there can be, two digits for an octet, so that growing leaves no copies.
        var secrets: [UInt8] = []
        secrets.reserveCapacity(octets.count / 2)
        var ranges: [Range<Int>] = []
        var position = 0
        while position < octets.count {
            let octet = octets[position]
            if octet == UInt8(ascii: "\"") || octet == UInt8(ascii: "'"),
                let end = MaskedText.endOfKey(octets, from: position + 1), end < octets.count, octets[end] == octet,
                MaskedText.appendKey(octets[position + 1..<end], to: &secrets)
            {
                text.append(octet)
                text.append(contentsOf: "\(MaskedText.mark)\(ranges.count)\(MaskedText.mark)".utf8)
                text.append(octet)
                ranges.append((ranges.last?.upperBound ?? 0)..<secrets.count)
                position = end + 1
            } else {
                text.append(octet)
                position += 1
            }
        }
        self.text = text
        self.secrets = secrets
        self.ranges = ranges
    }

    deinit {
        unsafe secrets.withUnsafeMutableBytes { buffer in
            guard let base = buffer.baseAddress else { return }
            unsafe explicit_bzero(base, buffer.count)
        }
    }

    /// The key that stood where the parser read `value`; nil when that was no key of this algorithm.
    func key(_ value: String, for algorithm: Algorithm) -> KeyMaterial? {
        guard let range = range(value) else { return nil }
        return unsafe secrets.withUnsafeBytes {
            unsafe KeyMaterial(UnsafeRawBufferPointer(rebasing: $0[range]), for: algorithm)
        }
    }

    /// Octets of what stood where the parser read `value`; nil when no algorithm has keys like that.
    func keyOctets(_ value: String) -> Int? { range(value)?.count }

    private func range(_ value: String) -> Range<Int>? {
        let mark = MaskedText.mark.utf8, octets = value.utf8
        guard octets.count > 2 * mark.count, octets.starts(with: mark), octets.suffix(mark.count).elementsEqual(mark),
            let number = Int(Substring(octets.dropFirst(mark.count).dropLast(mark.count))),
            ranges.indices.contains(number)
        else { return nil }
        return ranges[number]
    }

    /// A key file's contents.
    enum FileKey {
        case key(KeyMaterial)
        /// Digits, and no key of the algorithm: how many octets.
        case otherSize(Int)
        /// Anything else.
        case none
    }

    /// The key in a key file: one line and nothing else. The caller wipes `octets`.
    static func key(inFile octets: [UInt8], for algorithm: Algorithm) -> FileKey {
        unsafe withKey(inFile: octets) { octets in
            let key = unsafe KeyMaterial(octets, for: algorithm)
            return key.map(FileKey.key) ?? .otherSize(octets.count)
        } ?? .none
    }

    /// Whether a key file holds what may be a key, of whatever algorithm. The caller wipes `octets`.
    static func holdsKey(_ octets: [UInt8]) -> Bool {
        unsafe withKey(inFile: octets) { _ in true } ?? false
    }

    private static func withKey<Result>(
        inFile octets: [UInt8], _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result? {
        var line = octets[...]
        if line.last == UInt8(ascii: "\n") { line.removeLast() }
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        var secret: [UInt8] = []
        secret.reserveCapacity(mostOctets)
        defer {
            unsafe secret.withUnsafeMutableBytes { buffer in
                if let base = buffer.baseAddress { unsafe explicit_bzero(base, buffer.count) }
            }
        }
        guard appendKey(line, to: &secret) else { return nil }
        return unsafe secret.withUnsafeBytes { unsafe body($0) }
    }

    /// Where the digits behind "0x" at `start` end, if they are not more than any key has.
    private static func endOfKey(_ octets: [UInt8], from start: Int) -> Int? {
        guard start + 2 < octets.count, octets[start] == UInt8(ascii: "0"), octets[start + 1] == UInt8(ascii: "x")
        else { return nil }
        let longest = min(octets.count, start + 3 + 2 * mostOctets)
        return octets[(start + 2)..<longest].firstIndex { digit($0) == nil }
    }

    /// Appends the octets that `text` ("0x" and as many digits as some key has) stands for; false, and nothing
    /// appended, when it is not that.
    private static func appendKey(_ text: ArraySlice<UInt8>, to secrets: inout [UInt8]) -> Bool {
        guard text.count % 2 == 0, keySizes.contains(text.count / 2 - 1), text.starts(with: "0x".utf8),
            text.dropFirst(2).allSatisfy({ digit($0) != nil })
        else { return false }
        var digits = text.dropFirst(2)
        while let high = digits.popFirst().flatMap(digit), let low = digits.popFirst().flatMap(digit) {
            secrets.append(high << 4 | low)
        }
        return true
    }

    private static func digit(_ octet: UInt8) -> UInt8? {
        switch octet {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): octet - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): octet - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): octet - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
