import CIPsecMB
import IPsec

@testable import ESP

/// The crypto stage with jobs made by hand, of every algorithm, on memory that is guarded by 0xa5.
@safe
struct JobBench: ~Copyable {
    /// What is protected, and by what.
    struct Message {
        var algorithm: Algorithm
        var key: [UInt8]
        /// 12 octets, or none.
        var nonce: [UInt8] = []
        /// 12 octets that go before all others, or none.
        var head: [UInt8] = []
        var aad: [UInt8] = []
        /// 4 octets that go behind all others, or none.
        var tail: [UInt8] = []
        var text: [UInt8] = []
    }

    var crypto: SoftwareCrypto
    private let arena: KeyArena
    private let memory: UnsafeMutableRawPointer
    private static let room = 66000, aadStart = 64, textStart = aadStart + room, icvStart = textStart + room
    private static let octets = icvStart + 64

    init() throws {
        guard let crypto = SoftwareCrypto(), let arena = KeyArena() else { throw NoCrypto() }
        self.crypto = crypto
        self.arena = arena
        unsafe memory = .allocate(byteCount: JobBench.octets, alignment: 64)
    }

    deinit { unsafe memory.deallocate() }

    func expand(_ message: borrowing Message) throws -> ExpandedKey {
        let salt = message.nonce.isEmpty ? [] : [UInt8](message.nonce.prefix(4))
        let octets = message.key + salt
        guard let material = unsafe octets.withUnsafeBytes({ unsafe KeyMaterial($0, for: message.algorithm) }),
            let key = arena.expand(material)
        else { throw NoCrypto() }
        return key
    }

    /// Ciphertext and ICV.
    mutating func seal(_ message: Message) throws -> (text: [UInt8], icv: [UInt8]) {
        let key = try expand(message)
        var job = job(message, key, icv: [])
        unsafe withUnsafeMutablePointer(to: &job) { job in
            unsafe crypto.seal(job)
            crypto.finishHashes()
        }
        let icv = octets(JobBench.icvStart, 64)
        precondition(icv[message.algorithm.icvOctets...].allSatisfy { $0 == 0xa5 }, "wrote behind the ICV")
        precondition(octets(JobBench.aadStart, message.aad.count) == message.aad, "wrote into what is authenticated")
        precondition(octets(JobBench.textStart + message.text.count, 16).allSatisfy { $0 == 0xa5 }, "wrote behind text")
        return (octets(JobBench.textStart, message.text.count), [UInt8](icv.prefix(message.algorithm.icvOctets)))
    }

    /// Plaintext of a message whose text is the ciphertext, and whether `icv` holds. Judges first without decrypting in
    /// place, and expects the same.
    mutating func open(_ message: Message, icv: [UInt8]) throws -> (text: [UInt8], holds: Bool) {
        let key = try expand(message)
        var job = job(message, key, icv: icv)
        let before = packet(message)
        let isAuthentic = crypto.isAuthentic(&job)
        precondition(packet(message) == before, "wrote into the packet")
        job.computedICV = (.max, .max)
        unsafe withUnsafeMutablePointer(to: &job) { job in
            unsafe crypto.open(job, into: job.pointee.text)
            crypto.finishHashes()
        }
        precondition(job.hasComputedICV == isAuthentic)
        return (octets(JobBench.textStart, message.text.count), isAuthentic)
    }

    private func packet(_ message: Message) -> [[UInt8]] {
        [
            octets(JobBench.aadStart, message.aad.count + 16), octets(JobBench.textStart, message.text.count + 16),
            octets(JobBench.icvStart, 64),
        ]
    }

    private func octets(_ start: Int, _ count: Int) -> [UInt8] {
        unsafe [UInt8](UnsafeRawBufferPointer(start: memory + start, count: count))
    }

    private func job(_ message: Message, _ key: ExpandedKey, icv: [UInt8]) -> CryptoJob {
        precondition(message.aad.count <= JobBench.room && message.text.count <= JobBench.room)
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0xa5, count: JobBench.octets)
        for (start, octets) in [
            (JobBench.aadStart, message.aad), (JobBench.textStart, message.text), (JobBench.icvStart, icv),
        ] {
            unsafe UnsafeMutableRawBufferPointer(start: memory + start, count: octets.count).copyBytes(from: octets)
        }
        let nonce = words(message.nonce), head = words(message.head), tail = words(message.tail)
        return unsafe CryptoJob(
            key: key.table, text: memory + JobBench.textStart, length: message.text.count,
            associatedData: memory + JobBench.aadStart, associatedDataOctets: message.aad.count,
            icv: memory + JobBench.icvStart, icvOctets: message.algorithm.icvOctets, nonce: nonce,
            computedICV: (0x5a5a, 0x5a5a), transform: message.algorithm.transform,
            extendedData: message.head.isEmpty ? nil : head,
            trailingData: message.tail.isEmpty ? nil : UInt32(truncatingIfNeeded: tail.0), packet: 0)
    }
}

/// Up to 16 octets as they lie in memory, zeros behind them.
func words(_ octets: [UInt8]) -> (UInt64, UInt64) {
    var words: (UInt64, UInt64) = (0, 0)
    unsafe withUnsafeMutableBytes(of: &words) { unsafe $0.copyBytes(from: octets) }
    return words
}
