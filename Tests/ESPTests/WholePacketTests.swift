import CIPsecMB
import Glibc
import IPsec
import SeededRandom
import Testing

@testable import ESP

private enum Processor {
    /// Octets of the vectors that it has AES for. With AVX-512 the library can be as it is without.
    static let vectors: [UInt32] = [64, 32].filter { octets in
        (try? DirectGCM(vectorOctets: octets))?.vectorOctets == octets
    }
}

/// AES-128-GCM of an ESP packet in one piece against libipsec-mb's, and against known answers.
@Suite("Whole packets", .enabled(if: !Processor.vectors.isEmpty, "no AES for vectors (VAES) on this processor"))
struct WholePacketTests {
    @Test("texts of every length, at every place in a line, as the library does them", arguments: Processor.vectors)
    func everyLength(vectorOctets: UInt32) throws {
        var random = SplitMix64(seed: 128)
        let gcm = try DirectGCM(vectorOctets: vectorOctets), room = GuardedRoom(octets: 65536)
        let lengths = Array(0...2200) + (1...100).map { _ in Int.random(in: 2201...65000, using: &random) }
        for length in lengths {
            let key = random.octets(16), nonce = random.octets(12)
            let packet = random.octets(8) + nonce.dropFirst(4) + random.octets(length)
            let expected = gcm.seal(
                key: key, nonce: nonce, aad: Array(packet.prefix(8)), text: Array(packet.dropFirst(16)))
            // Where the ICV ends no octet follows, and where the SPI begins none comes before.
            let place = unsafe length % 2 == 0 ? room.end - (32 + length) : room.start + length / 2 % 64
            unsafe place.copyMemory(from: packet, byteCount: packet.count)
            unsafe gcm.sealWhole(key: key, nonces: [nonce], packets: [place], texts: [length])
            let sealed = unsafe octets(place, packet.count + 16)
            #expect(sealed == packet.prefix(16) + expected.text + expected.icv, "length \(length)")
            // The ICV's octets are not read.
            unsafe (place + packet.count).initializeMemory(as: UInt8.self, repeating: 0, count: 16)
            let icvs = unsafe gcm.openWhole(key: key, nonces: [nonce], packets: [place], texts: [length])
            #expect(icvs == [expected.icv], "length \(length)")
            let opened = unsafe octets(place, packet.count + 16)
            #expect(opened == packet + [UInt8](repeating: 0, count: 16), "length \(length)")
        }
    }

    @Test("short packets, of which two go together", arguments: Processor.vectors)
    func together(vectorOctets: UInt32) throws {
        var random = SplitMix64(seed: 2)
        let gcm = try DirectGCM(vectorOctets: vectorOctets), room = GuardedRoom(octets: 4096)
        for length in 0...260 {
            let texts =
                [length] + (0..<7).map { _ in Int.random(in: max(0, length - 70)...length + 70, using: &random) }
            let key = random.octets(16), nonces = texts.map { _ in random.octets(12) }
            let packets = zip(texts, nonces).map { random.octets(8) + $1.dropFirst(4) + random.octets($0) }
            let places = unsafe texts.indices.map { unsafe room.start + 512 * $0 }
            for (index, packet) in packets.enumerated() {
                let place = unsafe places[index]
                unsafe place.copyMemory(from: packet, byteCount: packet.count)
            }
            unsafe gcm.sealWhole(key: key, nonces: nonces, packets: places, texts: texts)
            var expected: [[UInt8]] = []
            for (index, packet) in packets.enumerated() {
                let sealed = gcm.seal(
                    key: key, nonce: nonces[index], aad: Array(packet.prefix(8)), text: Array(packet.dropFirst(16)))
                expected.append(sealed.icv)
                let found = unsafe octets(places[index], packet.count + 16)
                #expect(found == packet.prefix(16) + sealed.text + sealed.icv, "lengths \(texts), \(index)")
            }
            let icvs = unsafe gcm.openWhole(key: key, nonces: nonces, packets: places, texts: texts)
            #expect(icvs == expected, "lengths \(texts)")
            for (index, packet) in packets.enumerated() {
                let place = unsafe places[index]
                let opened = unsafe octets(place, packet.count)
                #expect(opened == packet, "lengths \(texts)")
            }
        }
    }

    @Test("nothing around a packet is written", arguments: Processor.vectors)
    func neighbours(vectorOctets: UInt32) throws {
        var random = SplitMix64(seed: 64)
        let gcm = try DirectGCM(vectorOctets: vectorOctets), room = GuardedRoom(octets: 4096)
        for length in 0...1600 {
            unsafe room.start.initializeMemory(as: UInt8.self, repeating: 0xa5, count: 4096)
            let place = unsafe room.start + 64 + Int.random(in: 0..<64, using: &random)
            let key = random.octets(16), nonce = random.octets(12)
            unsafe gcm.sealWhole(key: key, nonces: [nonce], packets: [place], texts: [length])
            _ = unsafe gcm.openWhole(key: key, nonces: [nonce], packets: [place], texts: [length])
            #expect(unsafe octets(place - 64, 64 + 16 + length).allSatisfy { $0 == 0xa5 }, "length \(length)")
            #expect(unsafe octets(place + 32 + length, 128).allSatisfy { $0 == 0xa5 }, "length \(length)")
        }
    }

    @Test(
        "known answers", arguments: [("wycheproof", 2), ("cavp-encrypt", 0), ("draft-mcgrew-gcm-test-01", 3)],
        Processor.vectors)
    func knownAnswers(of: (file: String, least: Int), vectorOctets: UInt32) throws {
        let gcm = try DirectGCM(vectorOctets: vectorOctets), room = GuardedRoom(octets: 4096)
        let vectors = try Vector.read(of.file).filter { $0.aad.count == 8 && $0.nonce.count == 12 && $0.isValid }
        #expect(vectors.count >= of.least)
        for vector in vectors {
            let front = vector.aad + vector.nonce.dropFirst(4)
            let clear = front + vector.plaintext
            unsafe room.start.copyMemory(from: clear, byteCount: clear.count)
            let text = vector.plaintext.count
            unsafe gcm.sealWhole(key: vector.key, nonces: [vector.nonce], packets: [room.start], texts: [text])
            let sealed = unsafe octets(room.start, clear.count + 16)
            #expect(sealed == front + vector.ciphertext + vector.tag, "\(vector.name)")
            let icvs = unsafe gcm.openWhole(
                key: vector.key, nonces: [vector.nonce], packets: [room.start], texts: [text])
            let opened = unsafe octets(room.start, clear.count)
            #expect(icvs == [vector.tag] && opened == clear, "\(vector.name)")
        }
    }

    @Test("bursts of packets are the same with and without it", arguments: [1 as UInt64, 2, 3])
    func bursts(seed: UInt64) throws {
        var random = SplitMix64(seed: seed), whole = try Bench(), library = try Bench(libraryOnly: true)
        #expect(whole.crypto.takesWholePackets && !library.crypto.takesWholePackets)
        #expect(whole.crypto.description.hasPrefix(library.crypto.description))
        let pairs = try (0..<4).map { try AssociationPair(seed: seed << 8 | $0) }
        let twins = try (0..<4).map { try AssociationPair(seed: seed << 8 | $0) }
        var refused = 0
        for round in 0..<12 {
            let items = (0..<Bench.capacity).map { _ in
                (
                    innerPacket(
                        octets: Int.random(in: 20...(Bool.random(using: &random) ? 150 : 1600), using: &random),
                        using: &random),
                    Int.random(in: 0..<4, using: &random)
                )
            }
            let sent = whole.send(items.map { ($0.0, pairs[$0.1], OutboundBurst.headOctets) })
            #expect(
                sent == library.send(items.map { ($0.0, twins[$0.1], OutboundBurst.headOctets) }),
                "seed \(seed), round \(round)")
            let arriving = zip(items, sent).map { item, verdict in
                var esp = [UInt8](verdict.octets.dropFirst(20))
                if Int.random(in: 0..<8, using: &random) == 0 {
                    esp[Int.random(in: 8..<esp.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                }
                return (esp, item.1)
            }
            let opened = whole.receive(arriving.map { ($0.0, pairs[$0.1]) })
            #expect(opened == library.receive(arriving.map { ($0.0, twins[$0.1]) }), "seed \(seed), round \(round)")
            refused += opened.count { $0 == .dropped(.integrityFailed) }
        }
        #expect(refused > 0 && refused < 100)
    }

    @Test("no key stays on the stack", arguments: Processor.vectors, [true, false])
    func stack(vectorOctets: UInt32, isSealing: Bool) throws {
        let gcm = try DirectGCM(vectorOctets: vectorOctets), stack = OwnStack()
        let room = UnsafeMutableRawPointer.allocate(byteCount: 8 * 2048, alignment: 64)
        defer { unsafe room.deallocate() }
        for length in Array(stride(from: 0, through: 400, by: 4)) + [512, 1424, 2000] {
            let key = (0..<16).map { UInt8(truncatingIfNeeded: $0 * 37 + length * 11 + 5) }
            let places = unsafe (0..<8).map { unsafe room + 2048 * $0 }
            let found = unsafe gcm.keyWords(
                left: stack, key: key, packets: places, text: length, isSealing: isSealing)
            #expect(found == 0, "length \(length)")
        }
    }

    @Test("a library that does otherwise is left alone", arguments: Processor.vectors)
    func otherLibrary(vectorOctets: UInt32) throws {
        guard let manager = unsafe cipsecmb_manager_create() else { throw NoCrypto() }
        defer { unsafe cipsecmb_manager_free(manager) }
        if vectorOctets == 32 { unsafe init_mb_mgr_avx2(manager) }
        #expect(unsafe cipsecmb_esp_works(manager) == vectorOctets)
        unsafe manager.pointee.gcm128_enc = { _, _, _, _, _, _, _, _, _, _ in }
        #expect(unsafe cipsecmb_esp_works(manager) == 0)
        unsafe init_mb_mgr_sse(manager)
        #expect(unsafe cipsecmb_esp_fits(manager) == 0)
    }
}

private func octets(_ start: UnsafeMutableRawPointer, _ count: Int) -> [UInt8] {
    unsafe [UInt8](UnsafeRawBufferPointer(start: start, count: count))
}

extension SplitMix64 {
    fileprivate mutating func octets(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in .random(in: 0...255, using: &self) }
    }
}

/// Memory between two pages that nobody may touch.
@safe
private final class GuardedRoom {
    let start: UnsafeMutableRawPointer
    let end: UnsafeMutableRawPointer
    private static let page = 4096

    /// A multiple of a page.
    init(octets: Int) {
        let whole = octets + 2 * GuardedRoom.page
        guard let memory = unsafe mmap(nil, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            unsafe memory != MAP_FAILED
        else { preconditionFailure("no memory") }
        unsafe start = memory + GuardedRoom.page
        unsafe end = start + octets
        unsafe mprotect(memory, GuardedRoom.page, PROT_NONE)
        unsafe mprotect(end, GuardedRoom.page, PROT_NONE)
    }

    deinit { unsafe munmap(start - GuardedRoom.page, end - start + 2 * GuardedRoom.page) }
}

/// A thread's stack in memory that can be looked at when the thread is gone.
@safe
private final class OwnStack {
    private static let octets = 256 << 10
    private let memory = UnsafeMutableRawPointer.allocate(byteCount: OwnStack.octets, alignment: 4096)

    deinit { unsafe memory.deallocate() }

    /// Runs `body` on it; then everything on it that is not zero, in words.
    func words(after body: @escaping () -> Void) -> [UInt64] {
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: OwnStack.octets)
        var attributes = pthread_attr_t(), thread = pthread_t()
        unsafe pthread_attr_init(&attributes)
        unsafe pthread_attr_setstack(&attributes, memory, OwnStack.octets)
        let work = unsafe Unmanaged.passRetained(Work(body))
        let failure = unsafe pthread_create(
            &thread, &attributes,
            { work in
                unsafe work.map { unsafe Unmanaged<Work>.fromOpaque($0).takeRetainedValue().body() }
                return nil
            }, work.toOpaque())
        precondition(failure == 0)
        pthread_join(thread, nil)
        unsafe pthread_attr_destroy(&attributes)
        return unsafe UnsafeRawBufferPointer(start: memory, count: OwnStack.octets).bindMemory(to: UInt64.self)
            .filter { $0 != 0 }
    }

    private final class Work {
        let body: () -> Void
        init(_ body: @escaping () -> Void) { self.body = body }
    }
}

extension DirectGCM {
    /// How many words of the expanded key are on a stack that packets were encrypted or decrypted on.
    fileprivate func keyWords(
        left stack: OwnStack, key: [UInt8], packets: [UnsafeMutableRawPointer], text: Int, isSealing: Bool
    ) -> Int {
        let nonces = unsafe packets.map { _ in [UInt8](repeating: 7, count: 12) }
        let jobs = unsafe UnsafeMutableBufferPointer<cipsecmb_esp>.allocate(capacity: packets.count)
        defer { unsafe jobs.deallocate() }
        let (filled, expanded) = unsafe jobsAndKey(key, nonces, packets, packets.map { _ in text })
        _ = unsafe jobs.initialize(from: filled)
        let (start, count, width) = (jobs.baseAddress, jobs.count, vectorOctets)
        let found = stack.words {
            if isSealing {
                unsafe cipsecmb_esp_encrypt(width, start, count)
            } else {
                unsafe cipsecmb_esp_decrypt(width, start, count)
            }
        }
        let secret = Set(expanded).subtracting([0])
        return found.count { secret.contains($0) }
    }
}
