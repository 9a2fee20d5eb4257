import IPsec
import Testing

@testable import ESP

@Suite("Known answers")
struct KnownAnswerTests {
    @Test(
        "AES-128-GCM of the crypto library",
        arguments: [
            ("wycheproof", 40, 27), ("cavp-encrypt", 375, 0), ("cavp-decrypt", 179, 196),
            ("draft-mcgrew-gcm-test-01", 9, 0),
        ])
    func directCalls(file: String, valid: Int, invalid: Int) throws {
        let vectors = try Vector.read(file), gcm = try DirectGCM()
        #expect(vectors.count(where: \.isValid) == valid)
        #expect(vectors.count(where: { !$0.isValid }) == invalid)
        for vector in vectors {
            let opened = gcm.open(key: vector.key, nonce: vector.nonce, aad: vector.aad, text: vector.ciphertext)
            #expect((opened.icv == vector.tag) == vector.isValid, "\(vector.name)")
            guard vector.isValid else { continue }
            #expect(opened.text == vector.plaintext, "\(vector.name)")
            let sealed = gcm.seal(key: vector.key, nonce: vector.nonce, aad: vector.aad, text: vector.plaintext)
            #expect(sealed.text == vector.ciphertext && sealed.icv == vector.tag, "\(vector.name)")
        }
    }

    // RFC 4106 3 to 5: salt and IV make the nonce, SPI and sequence number the associated data.
    @Test(
        "whole ESP packets through the inbound path", arguments: [("draft-mcgrew-gcm-test-01", 3), ("wycheproof", 2)])
    func inboundPath(file: String, count: Int) throws {
        let vectors = try Vector.read(file).filter(\.isESP)
        #expect(vectors.count == count)
        var bench = try Bench()
        for vector in vectors {
            let pair = try AssociationPair(seed: 0, aesKey: vector.key, salt: [UInt8](vector.nonce.prefix(4)))
            let packet = vector.aad + vector.nonce.dropFirst(4) + vector.ciphertext + vector.tag
            var damaged = packet
            damaged[packet.count - 1] ^= 1
            #expect(bench.receive(damaged, under: pair) == .dropped(.integrityFailed), "\(vector.name)")
            #expect(pair.inboundState.highest == 0, "\(vector.name)")

            // Transport mode or no ESP at all: authentic, decrypted and marked, and then refused for its trailer.
            #expect(bench.receive(packet, under: pair) == .dropped(.badTrailer), "\(vector.name)")
            let text = bench.inbound[0].bytes.octets[16..<16 + vector.plaintext.count]
            #expect([UInt8](text) == vector.plaintext, "\(vector.name)")
            let sequence = vector.aad.suffix(4).reduce(0) { $0 << 8 | UInt64($1) }
            #expect(pair.inboundState == .init(highest: sequence, packets: 0, octets: 0), "\(vector.name)")
            #expect(bench.receive(packet, under: pair) == .dropped(.replayed), "\(vector.name)")
        }
    }

    @Test("RFC 4106's nonce and associated data on the way out")
    func outboundPath() throws {
        // Case 4 of the draft has sequence number 1, as our first packet. Its IV is 0, which we never send, so the
        // answer for IV 1 comes from the crypto library that the cases above have judged.
        let vector = try #require(try Vector.read("draft-mcgrew-gcm-test-01").first { $0.name == "case-4" })
        let inner = [UInt8](vector.plaintext.prefix(60))
        let pair = try AssociationPair(seed: 0, spi: 0, aesKey: vector.key, salt: [0, 0, 0, 0])
        let gcm = try DirectGCM()
        var bench = try Bench()
        let sent = bench.send([inner], under: pair)[0].octets
        #expect([UInt8](sent[20..<28]) == vector.aad)
        let expected = gcm.seal(
            key: vector.key, nonce: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], aad: vector.aad,
            text: espText(payload: inner))
        #expect([UInt8](sent[36...]) == expected.text + expected.icv)
    }
}
