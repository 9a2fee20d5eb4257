import ESP
import Glibc

/// A site file's text with its keys taken out.
///
/// The TOML parser copies every string that is read and never frees it, and its error messages quote the text. So it
/// never sees a key: before parsing, each string that is one ("0x" and 40 hexadecimal digits, in quotes) becomes a
/// placeholder of private-use characters, and the key itself waits here, wiped with the last reference. Lines stay
/// where they were.
final class MaskedText {
    /// The text for the parser.
    let text: [UInt8]
    private var secrets: [UInt8]

    private static let textLength = 2 + 2 * KeyMaterial.octets
    private static let mark: Character = "\u{e000}"

    /// Takes the octets of a file, which the caller wipes.
    init(_ octets: [UInt8]) {
        var text: [UInt8] = []
        text.reserveCapacity(octets.count)
        // Room for every key there can be, so that growing leaves no copies.
        var secrets: [UInt8] = []
        secrets.reserveCapacity(octets.count / MaskedText.textLength * KeyMaterial.octets)
        var position = 0
        while position < octets.count {
            let octet = octets[position], end = position + 1 + MaskedText.textLength
            if octet == UInt8(ascii: "\"") || octet == UInt8(ascii: "'"), end < octets.count, octets[end] == octet,
                MaskedText.appendKey(octets[position + 1..<end], to: &secrets)
            {
                let number = secrets.count / KeyMaterial.octets - 1
                text.append(octet)
                text.append(contentsOf: "\(MaskedText.mark)\(number)\(MaskedText.mark)".utf8)
                text.append(octet)
                position = end + 1
            } else {
                text.append(octet)
                position += 1
            }
        }
        self.text = text
        self.secrets = secrets
    }

    deinit {
        unsafe secrets.withUnsafeMutableBytes { buffer in
            guard let base = buffer.baseAddress else { return }
            unsafe explicit_bzero(base, buffer.count)
        }
    }

    /// The key that stood where the parser read `value`; nil when that was no key.
    func key(_ value: String) -> KeyMaterial? {
        guard value.count >= 3, value.first == MaskedText.mark, value.last == MaskedText.mark,
            let number = Int(value.dropFirst().dropLast()), (0..<secrets.count / KeyMaterial.octets).contains(number)
        else { return nil }
        let range = number * KeyMaterial.octets..<(number + 1) * KeyMaterial.octets
        return unsafe secrets.withUnsafeBytes { unsafe KeyMaterial(UnsafeRawBufferPointer(rebasing: $0[range])) }
    }

    /// The key in a key file: one line and nothing else. Nil for anything else. The caller wipes `octets`.
    static func key(inFile octets: [UInt8]) -> KeyMaterial? {
        var line = octets[...]
        if line.last == UInt8(ascii: "\n") { line.removeLast() }
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        var secret: [UInt8] = []
        secret.reserveCapacity(KeyMaterial.octets)
        defer {
            unsafe secret.withUnsafeMutableBytes { buffer in
                if let base = buffer.baseAddress { unsafe explicit_bzero(base, buffer.count) }
            }
        }
        guard appendKey(line, to: &secret) else { return nil }
        return unsafe secret.withUnsafeBytes { unsafe KeyMaterial($0) }
    }

    /// Appends the octets that `text` ("0x" and 40 digits) stands for; false, and nothing appended, when it is not
    /// that.
    private static func appendKey(_ text: ArraySlice<UInt8>, to secrets: inout [UInt8]) -> Bool {
        guard text.count == textLength, text.starts(with: "0x".utf8), text.dropFirst(2).allSatisfy({ digit($0) != nil })
        else { return false }
        var digits = text.dropFirst(2)
        while let high = digits.popFirst().flatMap(digit), let low = digits.popFirst().flatMap(digit) {
            secrets.append(high << 4 | low)
        }
        return true
    }

    private static func digit(_ octet: UInt8) -> UInt8? {
        UInt8(exactly: Character(UnicodeScalar(octet)).hexDigitValue ?? 256)
    }
}
