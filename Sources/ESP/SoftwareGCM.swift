import CIPsecMB
import Wire

/// The crypto stage in software: AES-128-GCM by libipsec-mb's direct calls, one worker's own.
///
/// A stage is given a burst and asked for it back: `submit…` takes the burst's jobs, `collect…` says how many are done,
/// in order. Here the work is done when `submit…` returns; a device that works by itself would do it between the two.
@safe
public struct SoftwareGCM: ~Copyable {
    private let manager: UnsafeMutablePointer<IMB_MGR>
    private let context: UnsafeMutableRawPointer
    private var finished = 0

    /// Nil without memory, or on a processor without AES instructions.
    public init?() {
        guard let manager = unsafe cipsecmb_manager_create() else { return nil }
        guard let context = unsafe cipsecmb_secret_create(Int(CIPSECMB_GCM_CONTEXT_OCTETS)) else {
            unsafe cipsecmb_manager_free(manager)
            return nil
        }
        unsafe self.manager = manager
        unsafe self.context = context
    }

    deinit {
        unsafe cipsecmb_secret_free(context, Int(CIPSECMB_GCM_CONTEXT_OCTETS))
        unsafe cipsecmb_manager_free(manager)
    }

    /// Version of the library and the instruction set it chose, for the operator.
    public var description: String {
        unsafe "libipsec-mb \(String(cString: cipsecmb_version())), \(String(cString: cipsecmb_architecture(manager)))"
    }

    /// Encrypts all jobs of a burst that was prepared, and writes their ICVs.
    public mutating func submit(_ burst: borrowing OutboundBurst) {
        var index = 0
        while index < burst.jobs.count {
            let job = unsafe burst.jobs[index]
            unsafe withUnsafePointer(to: &job.pointee.nonce) { nonce in
                unsafe cipsecmb_gcm128_encrypt(
                    manager, job.pointee.key, context, job.pointee.text, UInt64(job.pointee.length), nonce,
                    job.pointee.associatedData, UInt64(ESPHeader.headerOctets), job.pointee.icv)
            }
            index &+= 1
        }
        finished &+= index
    }

    /// Decrypts all jobs of a burst that was prepared, and computes the ICVs that they should have.
    public mutating func submit(_ burst: borrowing InboundBurst) {
        var index = 0
        while index < burst.jobs.count {
            let job = unsafe burst.jobs[index]
            unsafe withUnsafePointer(to: &job.pointee.nonce) { nonce in
                unsafe withUnsafeMutablePointer(to: &job.pointee.computedICV) { icv in
                    unsafe cipsecmb_gcm128_decrypt(
                        manager, job.pointee.key, context, job.pointee.text, UInt64(job.pointee.length), nonce,
                        job.pointee.associatedData, UInt64(ESPHeader.headerOctets), icv)
                }
            }
            index &+= 1
        }
        finished &+= index
    }

    /// How many submitted jobs are done and not yet collected, oldest first.
    public mutating func collect() -> Int {
        defer { finished = 0 }
        return finished
    }
}
