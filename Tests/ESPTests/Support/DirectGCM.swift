import CIPsecMB

struct NoCrypto: Error {}

/// AES-128-GCM on arrays, with associated data of any length: the crypto library without our bursts around it. Known
/// answers judge it, and it builds the packets that no sender of ours would.
@safe
struct DirectGCM: ~Copyable {
    private let manager: UnsafeMutablePointer<IMB_MGR>
    private let key: UnsafeMutableRawPointer
    private let context: UnsafeMutablePointer<cipsecmb_context>
    /// Of the vectors of whole packets; 0 where this processor does not do them.
    let vectorOctets: UInt32

    /// With 32 as on a processor without AVX-512.
    init(vectorOctets wanted: UInt32 = 64) throws {
        guard let manager = unsafe cipsecmb_manager_create() else { throw NoCrypto() }
        if wanted == 32 { unsafe init_mb_mgr_avx2(manager) }
        guard let key = unsafe cipsecmb_secret_create(Int(CIPSECMB_GCM_KEY_OCTETS)),
            let context = unsafe cipsecmb_secret_create(Int(CIPSECMB_CONTEXT_OCTETS))
        else { throw NoCrypto() }
        unsafe (self.manager, self.key) = unsafe (manager, key)
        vectorOctets = unsafe cipsecmb_esp_fits(manager)
        unsafe self.context = context.bindMemory(to: cipsecmb_context.self, capacity: 1)
    }

    deinit {
        unsafe cipsecmb_secret_free(context, Int(CIPSECMB_CONTEXT_OCTETS))
        unsafe cipsecmb_secret_free(key, Int(CIPSECMB_GCM_KEY_OCTETS))
        unsafe cipsecmb_manager_free(manager)
    }

    /// The ciphertext of `text`, and its ICV.
    func seal(key octets: [UInt8], nonce: [UInt8], aad: [UInt8], text: [UInt8]) -> (text: [UInt8], icv: [UInt8]) {
        unsafe run(octets, nonce, aad, text) { text, aad, icv in
            unsafe cipsecmb_gcm128_encrypt(
                manager, key, context, text.baseAddress, UInt64(text.count), nonce, aad.baseAddress, UInt64(aad.count),
                icv, 16)
        }
    }

    /// The plaintext of `text`, and the ICV that it should have.
    func open(key octets: [UInt8], nonce: [UInt8], aad: [UInt8], text: [UInt8]) -> (text: [UInt8], icv: [UInt8]) {
        unsafe run(octets, nonce, aad, text) { text, aad, icv in
            unsafe cipsecmb_gcm128_decrypt(
                manager, key, context, text.baseAddress, text.baseAddress, UInt64(text.count), nonce, aad.baseAddress,
                UInt64(aad.count), icv, 16)
        }
    }

    /// Encrypts the texts of ESP packets in one piece each, and writes their ICVs.
    func sealWhole(key octets: [UInt8], nonces: [[UInt8]], packets: [UnsafeMutableRawPointer], texts: [Int]) {
        var jobs = unsafe jobs(octets, nonces, packets, texts)
        unsafe cipsecmb_esp_encrypt(vectorOctets, &jobs, jobs.count)
    }

    /// Decrypts them; returns the ICVs that they should have.
    func openWhole(
        key octets: [UInt8], nonces: [[UInt8]], packets: [UnsafeMutableRawPointer], texts: [Int]
    ) -> [[UInt8]] {
        var jobs = unsafe jobs(octets, nonces, packets, texts)
        unsafe cipsecmb_esp_decrypt(vectorOctets, &jobs, jobs.count)
        return unsafe jobs.map { job in
            unsafe withUnsafeBytes(of: job.computed_icv) { unsafe [UInt8]($0) }
        }
    }

    /// The jobs for packets, and their expanded key in words.
    func jobsAndKey(
        _ octets: [UInt8], _ nonces: [[UInt8]], _ packets: [UnsafeMutableRawPointer], _ texts: [Int]
    ) -> (jobs: [cipsecmb_esp], key: [UInt64]) {
        let jobs = unsafe jobs(octets, nonces, packets, texts)
        let count = Int(CIPSECMB_GCM_KEY_OCTETS) / 8
        let words = unsafe UnsafeBufferPointer(start: key.assumingMemoryBound(to: UInt64.self), count: count)
        return unsafe (jobs, Array(words))
    }

    private func jobs(
        _ octets: [UInt8], _ nonces: [[UInt8]], _ packets: [UnsafeMutableRawPointer], _ texts: [Int]
    ) -> [cipsecmb_esp] {
        unsafe cipsecmb_gcm128_expand(manager, octets, key)
        return unsafe packets.indices.map { index in
            var job = unsafe cipsecmb_esp()
            unsafe (job.nonce, job.key) = unsafe (words(nonces[index]), UnsafeRawPointer(key))
            unsafe (job.text, job.length) = unsafe (packets[index] + 16, UInt64(texts[index]))
            return unsafe job
        }
    }

    private func run(
        _ octets: [UInt8], _ nonce: [UInt8], _ aad: [UInt8], _ text: [UInt8],
        _ operation: (UnsafeMutableRawBufferPointer, UnsafeRawBufferPointer, UnsafeMutableRawPointer) -> Void
    ) -> (text: [UInt8], icv: [UInt8]) {
        precondition(octets.count == 16 && nonce.count == 12)
        unsafe cipsecmb_gcm128_expand(manager, octets, key)
        // One octet more, so that empty ones have an address too: the library refuses null.
        var result = text + [0]
        let data = aad + [0]
        var icv = [UInt8](repeating: 0, count: 16)
        unsafe result.withUnsafeMutableBytes { result in
            unsafe data.withUnsafeBytes { data in
                unsafe icv.withUnsafeMutableBytes { icv in
                    guard let address = icv.baseAddress else { return }
                    unsafe operation(
                        UnsafeMutableRawBufferPointer(rebasing: result.dropLast()),
                        UnsafeRawBufferPointer(rebasing: data.dropLast()), address)
                }
            }
        }
        return (Array(result.dropLast()), icv)
    }
}
