import IPsec
import SeededRandom
import Testing

@testable import ESP

extension Algorithm {
    /// What a test asks for must be there.
    static func named(_ name: String) -> Algorithm {
        Algorithm(name: name) ?? { preconditionFailure("no algorithm \(name)") }()
    }
}

/// Known answers that are not ours, through the jobs that bursts make.
@Suite("Transforms")
struct TransformTests {
    @Test(
        "encrypting transforms give the answers that others give",
        arguments: [
            ("wycheproof", "aes-128-gcm-16", 40, 27), ("cavp-encrypt", "aes-128-gcm-16", 375, 0),
            ("cavp-decrypt", "aes-128-gcm-16", 179, 196), ("draft-mcgrew-gcm-test-01", "aes-128-gcm-16", 9, 0),
            ("wycheproof-aes-256-gcm", "aes-256-gcm-16", 39, 27),
            ("wycheproof-chacha20-poly1305", "chacha20-poly1305", 256, 60),
            ("rfc7634-chacha20-poly1305", "chacha20-poly1305", 1, 0),
        ])
    func encrypting(file: String, algorithm: String, valid: Int, invalid: Int) throws {
        let vectors = try Vector.read(file), algorithm = Algorithm.named(algorithm)
        #expect(vectors.count(where: \.isValid) == valid)
        #expect(vectors.count(where: { !$0.isValid }) == invalid)
        var bench = try JobBench()
        for vector in vectors {
            var message = JobBench.Message(
                algorithm: algorithm, key: vector.key, nonce: vector.nonce, aad: vector.aad, text: vector.ciphertext)
            let opened = try bench.open(message, icv: vector.tag)
            #expect(opened.holds == vector.isValid, "\(vector.name)")
            guard vector.isValid else { continue }
            #expect(opened.text == vector.plaintext, "\(vector.name)")
            message.text = vector.plaintext
            let sealed = try bench.seal(message)
            #expect(sealed.text == vector.ciphertext && sealed.icv == vector.tag, "\(vector.name)")
        }
    }

    // RFC 4543 3: GMAC is GCM without text. The draft's packet has its IV among what is authenticated.
    @Test(
        "authenticating transforms give the answers that others give",
        arguments: [
            ("cavp-encrypt", "aes-128-gmac", 75), ("cavp-encrypt", "ah-aes-128-gmac", 75),
            ("draft-mcgrew-gmac", "aes-128-gmac", 1), ("draft-mcgrew-gmac", "ah-aes-128-gmac", 1),
            ("wycheproof-aes-256-gcm", "aes-256-gmac", 2), ("rfc-hmac-sha256", "ah-hmac-sha2-256-128", 9),
        ])
    func authenticating(file: String, algorithm: String, count: Int) throws {
        let vectors = try Vector.read(file).filter { $0.isValid && $0.plaintext.isEmpty }
        #expect(vectors.count == count)
        var bench = try JobBench()
        for vector in vectors {
            let message = JobBench.Message(
                algorithm: .named(algorithm), key: vector.key, nonce: vector.nonce, aad: vector.aad)
            #expect(try bench.seal(message).icv == vector.tag, "\(vector.name)")
            #expect(try bench.open(message, icv: vector.tag).holds, "\(vector.name)")
            for bit in stride(from: 0, to: 128, by: count > 9 ? 31 : 1) {
                var damaged = vector.tag
                damaged[bit / 8] ^= 1 << UInt8(bit % 8)
                #expect(try !bench.open(message, icv: damaged).holds, "\(vector.name), bit \(bit)")
            }
        }
    }

    @Test("HMAC of every length, whole and in pieces")
    func hmacLengths() throws {
        let lines = try Vector.lines("hmac-sha256-lengths")
        #expect(lines.count == 305)
        var bench = try JobBench()
        for line in lines {
            let length = try #require(Int(line[0])), tag = octets(hexadecimal: line[1])
            let text = (0..<length).map { UInt8(truncatingIfNeeded: 7 * $0 + length) }
            for (head, tail) in [(0, 0), (12, 0), (0, 4), (12, 4)] where length >= head + tail {
                let message = JobBench.Message(
                    algorithm: .named("ah-hmac-sha2-256-128"), key: [UInt8](0..<32), head: [UInt8](text.prefix(head)),
                    aad: [UInt8](text.dropFirst(head).dropLast(tail)), tail: [UInt8](text.suffix(tail)))
                #expect(try bench.seal(message).icv == tag, "length \(length), \(head) before, \(tail) behind")
                #expect(try bench.open(message, icv: tag).holds, "length \(length), \(head) before, \(tail) behind")
            }
        }
    }

    @Test(
        "GMAC of every length, whole and in pieces, is GCM without text",
        arguments: [
            ("aes-128-gmac", "aes-128-gcm-16"), ("ah-aes-128-gmac", "aes-128-gcm-16"),
            ("aes-256-gmac", "aes-256-gcm-16"),
        ])
    func gmacLengths(algorithm: String, judge: String) throws {
        var bench = try JobBench(), random = SplitMix64(seed: 40)
        let algorithm = Algorithm.named(algorithm)
        for length in [Int](0...300) + [1500, 65535, 65575] {
            let text = random.octets(length), key = random.octets(algorithm.keyOctets), nonce = random.octets(12)
            let expected = try bench.seal(.init(algorithm: .named(judge), key: key, nonce: nonce, aad: text)).icv
            for (head, tail) in [(0, 0), (12, 0), (0, 4), (12, 4)] where length >= head + tail {
                let message = JobBench.Message(
                    algorithm: algorithm, key: key, nonce: nonce, head: [UInt8](text.prefix(head)),
                    aad: [UInt8](text.dropFirst(head).dropLast(tail)), tail: [UInt8](text.suffix(tail)))
                #expect(try bench.seal(message).icv == expected, "length \(length), \(head) before, \(tail) behind")
                #expect(try bench.open(message, icv: expected).holds, "length \(length)")
            }
        }
    }

    @Test(
        "every length of text comes back, and no other ICV holds", arguments: Algorithm.all.filter(\.encrypts))
    func lengths(algorithm: Algorithm) throws {
        var bench = try JobBench(), random = SplitMix64(seed: 41)
        let key = random.octets(algorithm.keyOctets), nonce = random.octets(12), whole = random.octets(65535)
        let stream = try bench.seal(.init(algorithm: algorithm, key: key, nonce: nonce, text: whole)).text
        for length in [Int](0...300) + [1500, 9000, 65535] {
            var message = JobBench.Message(
                algorithm: algorithm, key: key, nonce: nonce, head: random.octets(length % 2 * 12),
                aad: random.octets(8), text: [UInt8](whole.prefix(length)))
            let sealed = try bench.seal(message)
            // Both are stream ciphers: what comes later changes nothing before it.
            #expect(sealed.text == [UInt8](stream.prefix(length)), "length \(length)")
            let plaintext = message.text
            message.text = sealed.text
            let opened = try bench.open(message, icv: sealed.icv)
            #expect(opened.holds && opened.text == plaintext, "length \(length)")
            var damaged = sealed.icv
            let bit = Int.random(in: 0..<8 * damaged.count, using: &random)
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(try !bench.open(message, icv: damaged).holds, "length \(length), bit \(bit)")
            if length > 0 {
                message.text[Int.random(in: 0..<length, using: &random)] ^= 0x10
                #expect(try !bench.open(message, icv: sealed.icv).holds, "length \(length)")
            }
        }
    }

    // RFC 4106 6: a short ICV is the beginning of the whole one.
    @Test("short ICVs are beginnings of whole ones, and all their bits count", arguments: [128, 256], [8, 12])
    func truncated(bits: Int, octets: Int) throws {
        var bench = try JobBench(), random = SplitMix64(seed: 42)
        let short = Algorithm.named("aes-\(bits)-gcm-\(octets)"), whole = Algorithm.named("aes-\(bits)-gcm-16")
        for vector in try Vector.read(bits == 128 ? "wycheproof" : "wycheproof-aes-256-gcm") where vector.isValid {
            var message = JobBench.Message(
                algorithm: short, key: vector.key, nonce: vector.nonce, aad: vector.aad, text: vector.plaintext)
            #expect(try bench.seal(message).icv == [UInt8](vector.tag.prefix(octets)), "\(vector.name)")
            message.text = vector.ciphertext
            // What lies behind the ICV is nobody's business.
            let icv = [UInt8](vector.tag.prefix(octets)) + random.octets(16 - octets)
            #expect(try bench.open(message, icv: icv).holds, "\(vector.name)")
            // Each bit's turn comes with some vector.
            for bit in stride(from: Int(vector.tag[0]) % 7, to: 8 * octets, by: 7) {
                var damaged = icv
                damaged[bit / 8] ^= 1 << UInt8(bit % 8)
                #expect(try !bench.open(message, icv: damaged).holds, "\(vector.name), bit \(bit)")
            }
            message.algorithm = whole
            #expect(try bench.open(message, icv: icv).holds == (icv == vector.tag), "\(vector.name)")
        }
    }

    // RFC 4106 5: with extended sequence numbers the associated data are SPI, high half, low half.
    @Test("packets with extended sequence numbers, and only under the right high half")
    func extendedSequenceNumbers() throws {
        var bench = try JobBench()
        let vectors = try Vector.read("draft-mcgrew-gcm-test-01").filter { $0.aad.count == 12 }
        #expect(vectors.count == 6)
        for vector in vectors {
            let word = { (start: Int) in vector.aad[start..<start + 4].reduce(0) { $0 << 8 | UInt32($1) } }
            for step: UInt64 in [0, 1, .max] {
                let sequence = (UInt64(word(4)) << 32 | UInt64(word(8))) &+ step << 32
                let data = CryptoJob.extendedData(spi: word(0).bigEndian, sequence: sequence)
                let head = bigEndian(UInt64(word(0)) << 32 | sequence >> 32) + bigEndian(UInt32(word(8)))
                #expect(words(head) == data, "\(vector.name)")
                let message = JobBench.Message(
                    algorithm: .aes128GCM16, key: vector.key, nonce: vector.nonce, head: head,
                    // Not looked at.
                    aad: [1, 2, 3, 4, 5, 6, 7, 8], text: vector.ciphertext)
                let opened = try bench.open(message, icv: vector.tag)
                #expect(opened.holds == (step == 0), "\(vector.name)")
                if step == 0 { #expect(opened.text == vector.plaintext, "\(vector.name)") }
            }
        }
        #expect(CryptoJob.trailingData(sequence: 0x0102_0304_0506_0708) == UInt32(0x0102_0304).bigEndian)
    }
}
