import IPsec
import Testing

@testable import ESP

@Suite("Key material")
struct KeyMaterialTests {
    private static let digits = "4c80cdefbb5d10da906ac73c3613a6342e443b68"

    private static func octets(of material: KeyMaterial) -> [UInt8] {
        unsafe [UInt8](UnsafeRawBufferPointer(start: material.secret, count: Algorithm.aes128GCM16.keyMaterialOctets))
    }

    @Test("hexadecimal digits of either case, key first and then salt", arguments: [digits, digits.uppercased()])
    func hexadecimal(digits: String) throws {
        let material = try #require(KeyMaterial(hexadecimal: "0x" + digits, for: .aes128GCM16))
        #expect(KeyMaterialTests.octets(of: material) == ESPTests.octets(hexadecimal: digits))
        #expect(material.saltWord == UInt32(bigEndian: 0x2e44_3b68))
        // A substring is text as well.
        let substring = "key = 0x\(digits)".dropFirst(6)
        #expect(KeyMaterial(hexadecimal: substring, for: .aes128GCM16)?.fingerprint == material.fingerprint)
    }

    private static let bad = [
        "", "0x", digits, "0X\(digits)", "0x\(digits.dropLast())", "0x\(digits.dropLast(2))", "0x\(digits)0",
        "0x\(digits)00",
        " 0x\(digits)", "0x\(digits)\n", "0x\(digits.dropLast())g", "0x\(digits.dropLast())\u{0}",
        "0x\(digits.dropLast(2))é",
        "0x\(digits.dropLast())-", "0x+\(digits.dropFirst())", "0x\(digits.dropLast(3))０", "x0\(digits)",
        "0x\(digits.dropLast(2)) 6", "0x0x\(digits.dropFirst(2))",
    ]

    @Test("anything else is refused", arguments: bad)
    func refused(text: String) { #expect(KeyMaterial(hexadecimal: text, for: .aes128GCM16) == nil) }

    @Test("20 octets and no other count", arguments: [0, 1, 16, 19, 20, 21, 36])
    func octetCount(count: Int) throws {
        let octets = [UInt8](repeating: 7, count: count)
        let material = unsafe octets.withUnsafeBytes { unsafe KeyMaterial($0, for: .aes128GCM16) }
        #expect((material != nil) == (count == 20))
        if let material { #expect(KeyMaterialTests.octets(of: material) == octets) }
    }

    @Test("fingerprints are equal exactly for equal AES keys, whatever the salts")
    func fingerprints() throws {
        let material = try #require(KeyMaterial(hexadecimal: "0x" + KeyMaterialTests.digits, for: .aes128GCM16))
        let original = KeyMaterialTests.octets(of: material)
        #expect(material.fingerprint.description.count == 64)
        for bit in 0..<Algorithm.aes128GCM16.keyMaterialOctets * 8 {
            var changed = original
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            let other = try #require(unsafe changed.withUnsafeBytes { unsafe KeyMaterial($0, for: .aes128GCM16) })
            #expect((other.fingerprint == material.fingerprint) == (bit >= 128), "bit \(bit)")
        }
    }

    @Test("as many octets as the algorithm takes, and no others", arguments: Algorithm.all)
    func everyAlgorithm(algorithm: Algorithm) throws {
        let digits = String(repeating: "5a", count: algorithm.keyMaterialOctets)
        let material = try #require(KeyMaterial(hexadecimal: "0x" + digits, for: algorithm))
        #expect(material.algorithm == algorithm)
        #expect(material.saltWord == (algorithm.saltOctets == 0 ? 0 : 0x5a5a_5a5a))
        for wrong in [digits + "5a", String(digits.dropLast(2)), digits + "5", ""] {
            #expect(KeyMaterial(hexadecimal: "0x" + wrong, for: algorithm) == nil)
        }
        for count in 0...64 {
            let octets = [UInt8](repeating: 7, count: count)
            let material = unsafe octets.withUnsafeBytes { unsafe KeyMaterial($0, for: algorithm) }
            #expect((material != nil) == (count == algorithm.keyMaterialOctets), "\(count) octets")
        }
    }

    @Test("one key has one fingerprint, whatever it is for and whatever its salt")
    func fingerprintsOfAlgorithms() throws {
        // SHA-256 of the label and 16 or 32 octets 0, 1, 2, …, by Python's hashlib.
        let expected = [
            16: "0aec3064be6623f72418e95f8b55f35c2c8b507fdc5db184d60ed78e34d12ba7",
            32: "a9c5597ea59e9dfeb1941247a701555e63017a3fd5641079737aa9e10bd5c7db",
        ]
        for algorithm in Algorithm.all {
            for salt: UInt8 in [0, 0xff] {
                let octets =
                    [UInt8](0..<UInt8(algorithm.keyOctets)) + [UInt8](repeating: salt, count: algorithm.saltOctets)
                let material = try #require(unsafe octets.withUnsafeBytes { unsafe KeyMaterial($0, for: algorithm) })
                #expect(material.fingerprint.description == expected[algorithm.keyOctets], "\(algorithm)")
            }
        }
    }

    @Test("a fingerprint is what it was: files on disk hold it")
    func fingerprintIsStable() throws {
        let material = try #require(KeyMaterial(hexadecimal: "0x" + KeyMaterialTests.digits, for: .aes128GCM16))
        let expected = "018f7c3690ac787cd3dbed5a8b203f1c3f9cd4aefe70939d87496104d80d96a3"
        #expect(material.fingerprint.description == expected)
    }

    @Test("no text shows a key, or where it lies")
    func unprintable() throws {
        struct Holder { let name = "site-b", key: KeyMaterial }
        let material = try #require(KeyMaterial(hexadecimal: "0x" + KeyMaterialTests.digits, for: .aes128GCM16))
        let address = unsafe String(UInt(bitPattern: material.secret), radix: 16)
        for subject: Any in [material, Holder(key: material), [material], Optional(material) as Any] {
            var dumped = ""
            dump(subject, to: &dumped)
            for text in [dumped, String(describing: subject), String(reflecting: subject), "\(subject)"] {
                #expect(!text.contains(address) && !text.contains("secret"))
                for octet in KeyMaterialTests.octets(of: material) where octet > 9 {
                    #expect(!text.contains(" \(octet)"))
                }
                #expect(!text.lowercased().contains(KeyMaterialTests.digits.prefix(6)))
            }
        }
        #expect(Mirror(reflecting: material).children.isEmpty)
    }
}
