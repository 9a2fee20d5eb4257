import IPsec
import SeededRandom
import Testing

@testable import ESP

/// HMACs that are computed many at once, each of which must come out as if it were alone.
@Suite("HMACs at once")
struct HashBurstTests {
    @Test("many of many lengths and keys, in pieces or not, more than there is room for", arguments: 1...8)
    func together(seed: Int) throws {
        var bench = try JobBench(), random = SplitMix64(seed: UInt64(seed))
        let messages = (0..<100).map { index in
            let longest = index % 10 == 0 ? 65575 : 2000
            return JobBench.Message(
                algorithm: .named("ah-hmac-sha2-256-128"), key: random.octets(32),
                head: random.octets(Int.random(in: 0...1, using: &random) * 12),
                aad: random.octets(Int.random(in: 0...longest - 16, using: &random)),
                tail: random.octets(Int.random(in: 0...1, using: &random) * 4))
        }
        let alone = try messages.map { try bench.seal($0).icv }
        let keys = try messages.map { try bench.expand($0) }
        // Inbound, each packet with its ICV behind it.
        let starts = messages.indices.map { index in messages[..<index].reduce(0) { $0 + $1.aad.count + 16 } }
        let octets = zip(messages, alone).flatMap { $0.aad + $1 }
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: octets.count, alignment: 64)
        defer { unsafe memory.deallocate() }
        unsafe memory.copyBytes(from: octets)
        let base = unsafe try #require(memory.baseAddress)
        var jobs = CryptoJobs(capacity: messages.count)
        for (index, message) in messages.enumerated() {
            let start = unsafe base + starts[index]
            unsafe jobs.append(
                CryptoJob(
                    key: keys[index].table, text: start, length: 0, associatedData: start,
                    associatedDataOctets: message.aad.count, icv: start + message.aad.count, nonce: (0, 0),
                    transform: .authenticationHMACSHA256,
                    extendedData: message.head.isEmpty ? nil : words(message.head),
                    trailingData: message.tail.isEmpty ? nil : UInt32(truncatingIfNeeded: words(message.tail).0),
                    packet: index))
        }
        for index in messages.indices {
            let job = unsafe jobs[index]
            unsafe bench.crypto.open(job, into: job.pointee.text)
        }
        bench.crypto.finishHashes()
        for index in messages.indices {
            #expect(unsafe jobs[index].pointee.hasComputedICV, "seed \(seed), packet \(index)")
            // Nothing but a computed ICV is one.
            #expect(unsafe jobs[index].pointee.computedICV != (0, 0), "seed \(seed), packet \(index)")
        }
        // Outbound.
        for index in messages.indices {
            let job = unsafe jobs[index]
            unsafe _ = job.pointee.icv.initializeMemory(as: UInt8.self, repeating: 0, count: 16)
            unsafe bench.crypto.seal(job)
        }
        bench.crypto.finishHashes()
        #expect(unsafe [UInt8](memory) == octets, "seed \(seed)")
        withExtendedLifetime(keys) {}
    }
}
