import CPcap
import Glibc
import Wire

/// Writes a pcap file of Ethernet frames with nanosecond timestamps, in the processor's byte order.
///
/// The same calls make the same file, byte for byte. The file has mode 0600 whatever the umask, because it holds clear
/// text or what its key could be had from; so has one that existed before, which loses its content. What is no regular
/// file (/dev/null) keeps its mode. The snap length in its header is 262144 octets: what libpcap reads at most, so no
/// reader cuts a packet of ours. Owned by one thread at a time.
@safe
public struct CaptureWriter: ~Copyable, @unchecked Sendable {
    /// The most octets that a record can have.
    public static let snapOctets = Int(CPCAP_SNAP_OCTETS)

    /// The name it was opened by.
    public let path: String
    /// Nil once closed.
    private var handle: OpaquePointer?

    /// Creates the file, or empties it. Whether it is one of the inputs is for `CaptureFiles.checkDistinct` to say
    /// before.
    public init(path: String) throws(CaptureError) {
        var errorNumber: Int32 = 0
        guard let handle = unsafe cpcap_writer_open(path, &errorNumber) else {
            throw writeFailure(errorNumber, path: path)
        }
        self.path = path
        unsafe self.handle = unsafe handle
    }

    /// Closes the file if `close` was not called; then nobody hears of a write that failed.
    deinit {
        if let handle = unsafe handle { _ = unsafe cpcap_writer_close(handle) }
    }

    /// Appends a frame. `octets` traps beyond `snapOctets`; `originalCount` is the frame's length on the wire where
    /// `octets` is less than all of it, and `timestampNanoseconds` counts from 1970 and stops at the end of 2^32
    /// seconds.
    ///
    /// Writes are buffered: an error shows at some later call, and at the latest when closing. It is thrown by every
    /// call from then on, and nothing more is written.
    public mutating func write(
        _ octets: PacketBytes, timestampNanoseconds: UInt64, originalCount: Int? = nil
    ) throws(CaptureError) {
        precondition(octets.count <= CaptureWriter.snapOctets)
        let original = UInt32(clamping: max(octets.count, originalCount ?? 0))
        let errorNumber = unsafe cpcap_writer_write(
            handle, octets.unsafePointer(at: 0), UInt32(octets.count), original, timestampNanoseconds)
        guard errorNumber == 0 else { throw writeFailure(errorNumber, path: path) }
    }

    /// Writes what is buffered and closes the file. Throws the first error of all writes.
    public consuming func close() throws(CaptureError) {
        guard let handle = unsafe handle else { return }
        unsafe self.handle = nil
        let errorNumber = unsafe cpcap_writer_close(handle)
        guard errorNumber == 0 else { throw writeFailure(errorNumber, path: path) }
    }
}

private func writeFailure(_ errorNumber: Int32, path: String) -> CaptureError {
    switch errorNumber {
    case EACCES, EPERM: .noPermission(path: path)
    default: .unwritable(path: path, reason: systemReason(errorNumber))
    }
}
