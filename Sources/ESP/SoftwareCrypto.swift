import CIPsecMB
import IPsec
import Wire

/// The crypto stage in software: every `Algorithm` by libipsec-mb, one worker's own; what nearly all packets are in one
/// piece, where the processor can (Sources/CIPsecMB/esp512.c, esp256.c).
///
/// A stage is given a burst and asked for it back: `submit…` takes the burst's jobs, `collect…` says how many are done,
/// in order. Here the work is done when `submit…` returns; a device that works by itself would do it between the two.
@safe
public struct SoftwareCrypto: ~Copyable {
    private let manager: UnsafeMutablePointer<IMB_MGR>
    private let context: UnsafeMutablePointer<cipsecmb_context>
    /// Where text goes that is decrypted for its ICV only.
    private let scratch: UnsafeMutableRawPointer
    private static let scratchOctets = 65536
    private var finished = 0
    /// Octets of the vectors in which plain jobs are done in one piece; 0 where the library does them.
    private let vectorOctets: UInt32
    /// Whether it does nothing, and calls every packet authentic whose ICV is zeros: see `stopWorking`.
    private var isIdle = false
    /// From SPI to text in a plain packet.
    private static let plainFront = ESPHeader.headerOctets + ESPHeader.ivOctets

    /// Nil without memory, or on a processor without AES instructions. With `libraryOnly` no packet is done in one
    /// piece.
    public init?(libraryOnly: Bool = false) {
        guard let manager = unsafe cipsecmb_manager_create() else { return nil }
        guard let context = unsafe cipsecmb_secret_create(Int(CIPSECMB_CONTEXT_OCTETS)) else {
            unsafe cipsecmb_manager_free(manager)
            return nil
        }
        guard let scratch = unsafe cipsecmb_secret_create(SoftwareCrypto.scratchOctets) else {
            unsafe cipsecmb_secret_free(context, Int(CIPSECMB_CONTEXT_OCTETS))
            unsafe cipsecmb_manager_free(manager)
            return nil
        }
        vectorOctets = unsafe libraryOnly ? 0 : cipsecmb_esp_works(manager)
        unsafe self.manager = manager
        unsafe self.context = context.bindMemory(to: cipsecmb_context.self, capacity: 1)
        unsafe self.scratch = scratch
    }

    deinit {
        unsafe cipsecmb_secret_free(scratch, SoftwareCrypto.scratchOctets)
        unsafe cipsecmb_secret_free(context, Int(CIPSECMB_CONTEXT_OCTETS))
        unsafe cipsecmb_manager_free(manager)
    }

    /// Whether plain jobs are done in one piece.
    public var takesWholePackets: Bool { vectorOctets > 0 }

    /// Version of the library and the instruction set it chose, for the operator.
    public var description: String {
        let architecture = unsafe String(cString: cipsecmb_architecture(manager))
        let library = "libipsec-mb \(CryptoVersion.text), \(architecture)"
        return takesWholePackets ? library + ", whole packets by VAES-\(vectorOctets * 8)" : library
    }

    /// From here on nothing is encrypted, decrypted or authenticated. For a benchmark of all else, whose packets never
    /// reach a wire, and for nothing else.
    public mutating func stopWorking() { isIdle = true }

    @inline(never)
    private mutating func pass(_ burst: borrowing OutboundBurst) {
        for index in 0..<burst.jobs.count {
            // Benchmarks send plain packets, whose ICV is behind the text.
            let job = unsafe burst.jobs[index]
            precondition(unsafe job.pointee.isPlain)
            unsafe (job.pointee.text + job.pointee.length).initializeMemory(as: UInt8.self, repeating: 0, count: 16)
        }
        finished &+= burst.jobs.count
    }

    @inline(never)
    private mutating func pass(_ burst: borrowing InboundBurst) {
        for index in 0..<burst.jobs.count { unsafe burst.jobs[index].pointee.computedICV = (0, 0) }
        finished &+= burst.jobs.count
    }

    /// Encrypts all jobs of a burst that was prepared, and writes their ICVs.
    public mutating func submit(_ burst: borrowing OutboundBurst) {
        if isIdle { return pass(burst) }
        var index = 0, isPlain = true
        while index < burst.jobs.count {
            let plain = takesWholePackets ? burst.jobs.plainJobs(from: index) : 0
            if plain > 0 {
                unsafe cipsecmb_esp_encrypt(vectorOctets, burst.jobs.unsafeWholePackets(at: index), plain)
                index &+= plain
                continue
            }
            let job = unsafe burst.jobs[index]
            if unsafe job.pointee.isPlain {
                unsafe withUnsafePointer(to: &job.pointee.nonce) { nonce in
                    unsafe cipsecmb_gcm128_encrypt(
                        manager, job.pointee.key, context, job.pointee.text,
                        UInt64(truncatingIfNeeded: job.pointee.length), nonce,
                        job.pointee.text - SoftwareCrypto.plainFront, UInt64(ESPHeader.headerOctets),
                        job.pointee.text + job.pointee.length, 16)
                }
            } else {
                unsafe seal(job)
                isPlain = false
            }
            index &+= 1
        }
        if !isPlain { finishHashes() }
        finished &+= index
    }

    /// Decrypts all jobs of a burst that was prepared, and computes the ICVs that they should have.
    public mutating func submit(_ burst: borrowing InboundBurst) {
        if isIdle { return pass(burst) }
        var index = 0, isPlain = true
        while index < burst.jobs.count {
            let plain = takesWholePackets ? burst.jobs.plainJobs(from: index) : 0
            if plain > 0 {
                unsafe cipsecmb_esp_decrypt(vectorOctets, burst.jobs.unsafeWholePackets(at: index), plain)
                index &+= plain
                continue
            }
            let job = unsafe burst.jobs[index]
            if unsafe job.pointee.isPlain {
                unsafe withUnsafePointer(to: &job.pointee.nonce) { nonce in
                    unsafe cipsecmb_gcm128_decrypt(
                        manager, job.pointee.key, context, job.pointee.text, job.pointee.text,
                        UInt64(truncatingIfNeeded: job.pointee.length), nonce,
                        job.pointee.text - SoftwareCrypto.plainFront,
                        UInt64(ESPHeader.headerOctets), job.computedICV, 16)
                }
            } else {
                unsafe open(job, into: job.pointee.text)
                isPlain = false
            }
            index &+= 1
        }
        if !isPlain { finishHashes() }
        finished &+= index
    }

    /// How many submitted jobs are done and not yet collected, oldest first.
    public mutating func collect() -> Int {
        defer { finished = 0 }
        return finished
    }

    /// Whether the packet's ICV holds, in constant time. The packet stays as it is; of the job only `computedICV` is
    /// written. For the rare moment when a packet has to be tried with more than one sequence number (RFC 4303 appendix
    /// A3).
    @inline(never)
    mutating func isAuthentic(_ job: inout CryptoJob) -> Bool {
        precondition(job.length <= SoftwareCrypto.scratchOctets)
        unsafe withUnsafeMutablePointer(to: &job) { job in
            unsafe open(job, into: scratch)
            finishHashes()
        }
        if SoftwareCrypto.encrypts(job.transform) { unsafe imb_clear_mem(scratch, job.length) }
        return job.hasComputedICV
    }

    /// Encrypts what `job` encrypts and writes its ICV: an HMAC's at the latest in `finishHashes`, until when the job
    /// stays where it is.
    @inline(never)
    mutating func seal(_ job: UnsafeMutablePointer<CryptoJob>) {
        let (data, dataOctets) = unsafe SoftwareCrypto.associatedData(job)
        let (key, nonce) = unsafe (job.pointee.key, job.nonce)
        let (text, length) = unsafe (job.pointee.text, UInt64(job.pointee.length))
        let (icv, icvOctets) = unsafe (job.pointee.icv, UInt64(job.pointee.icvOctets))
        switch unsafe job.pointee.transform {
        case .aes128GCM:
            unsafe cipsecmb_gcm128_encrypt(
                manager, key, context, text, length, nonce, data, dataOctets, icv, icvOctets)
        case .aes256GCM:
            unsafe cipsecmb_gcm256_encrypt(
                manager, key, context, text, length, nonce, data, dataOctets, icv, icvOctets)
        case .chaCha20Poly1305:
            unsafe cipsecmb_chacha_encrypt(
                manager, key, context, text, length, nonce, data, dataOctets, icv, icvOctets)
        case .aes128GMAC, .aes256GMAC, .authenticationHMACSHA256, .authenticationAES128GMAC:
            unsafe authenticate(job, icv)
        }
    }

    /// Decrypts to `plain`, which may be the text itself, and computes the ICV: an HMAC's at the latest in
    /// `finishHashes`, until when the job stays where it is.
    @inline(never)
    mutating func open(_ job: UnsafeMutablePointer<CryptoJob>, into plain: UnsafeMutableRawPointer) {
        let (data, dataOctets) = unsafe SoftwareCrypto.associatedData(job)
        let (key, nonce) = unsafe (job.pointee.key, job.nonce)
        let (text, length) = unsafe (job.pointee.text, UInt64(job.pointee.length))
        let (icv, icvOctets) = unsafe (job.computedICV, UInt64(job.pointee.icvOctets))
        switch unsafe job.pointee.transform {
        case .aes128GCM:
            unsafe cipsecmb_gcm128_decrypt(
                manager, key, context, plain, text, length, nonce, data, dataOctets, icv, icvOctets)
        case .aes256GCM:
            unsafe cipsecmb_gcm256_decrypt(
                manager, key, context, plain, text, length, nonce, data, dataOctets, icv, icvOctets)
        case .chaCha20Poly1305:
            unsafe cipsecmb_chacha_decrypt(
                manager, key, context, plain, text, length, nonce, data, dataOctets, icv, icvOctets)
        case .aes128GMAC, .aes256GMAC, .authenticationHMACSHA256, .authenticationAES128GMAC:
            unsafe authenticate(job, icv)
        }
    }

    /// Hashes what waits. The library works on several messages at once, so the HMACs of a burst wait for each other.
    @inline(never)
    mutating func finishHashes() { unsafe cipsecmb_hmac_finish(manager, context) }

    @inline(__always)
    private static func encrypts(_ transform: Algorithm.Transform) -> Bool {
        switch transform {
        case .aes128GCM, .aes256GCM, .chaCha20Poly1305: true
        case .aes128GMAC, .aes256GMAC, .authenticationHMACSHA256, .authenticationAES128GMAC: false
        }
    }

    /// What an encrypting transform authenticates besides its text.
    @inline(__always)
    private static func associatedData(_ job: UnsafeMutablePointer<CryptoJob>) -> (UnsafeRawPointer, UInt64) {
        guard unsafe job.pointee.usesExtendedData else {
            return unsafe (UnsafeRawPointer(job.pointee.associatedData), UInt64(job.pointee.associatedDataOctets))
        }
        return unsafe (job.extendedData, 12)
    }

    /// The ICV of a transform that encrypts nothing, 16 octets at `icv`.
    @inline(__always)
    private mutating func authenticate(_ job: UnsafeMutablePointer<CryptoJob>, _ icv: UnsafeMutableRawPointer) {
        let (key, nonce) = unsafe (job.pointee.key, job.nonce)
        unsafe withUnsafePointer(to: &job.pointee.trailingData) { trailing in
            var message = unsafe cipsecmb_message(
                head: job.extendedData, head_length: job.pointee.usesExtendedData ? 12 : 0,
                body: UnsafeRawPointer(job.pointee.associatedData), body_length: job.pointee.associatedDataOctets,
                tail: UnsafeRawPointer(trailing), tail_length: job.pointee.usesTrailingData ? 4 : 0)
            switch unsafe job.pointee.transform {
            case .authenticationHMACSHA256:
                let key = unsafe key.assumingMemoryBound(to: cipsecmb_hmac_key.self)
                unsafe cipsecmb_hmac(manager, key, context, &message, icv)
            case .aes256GMAC:
                unsafe cipsecmb_gmac256(manager, key, context, nonce, &message, icv)
            default:
                unsafe cipsecmb_gmac128(manager, key, context, nonce, &message, icv)
            }
        }
    }
}
