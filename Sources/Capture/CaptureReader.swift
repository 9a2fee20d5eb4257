import CPcap
import Glibc
import Wire

/// Reads a capture file from its start to its end, one record at a time.
///
/// pcap and pcapng in either byte order; timestamps of any resolution; Ethernet and raw IP. Memory is bounded by
/// libpcap's largest record (256 KiB in pcap, a block of 16 MiB in pcapng) whatever the file says or how long it is,
/// and a record allocates nothing. Owned by one thread at a time.
@safe
public struct CaptureReader: ~Copyable, @unchecked Sendable {
    /// The name it was opened by.
    public let path: String
    /// What all of its records start with.
    public let linkType: CaptureLinkType
    private let handle: OpaquePointer

    /// Opens the file and reads its header. An empty file, or one that is no capture, is `.corrupt` at 0.
    public init(path: String) throws(CaptureError) {
        guard let handle = unsafe cpcap_reader_open(path) else {
            throw .unreadable(path: path, reason: systemReason(ENOMEM))
        }
        let linkType: Result<CaptureLinkType, CaptureError> =
            unsafe cpcap_reader_state(handle) == CPCAP_FAILED
            ? .failure(unsafe readFailure(handle, path: path))
            : captureLinkType(unsafe cpcap_reader_link_type(handle), path: path)
        switch linkType {
        case .success(let linkType):
            self.path = path
            self.linkType = linkType
            unsafe self.handle = unsafe handle
        case .failure(let error):
            unsafe cpcap_reader_free(handle)
            throw error
        }
    }

    deinit { unsafe cpcap_reader_free(handle) }

    /// The next record, or nil at the end. Its octets are valid until the next call, or until the reader is gone.
    ///
    /// A record that libpcap refuses, and one that the file ends in the middle of, is thrown as `.corrupt` with its
    /// offset, after all records before it were given; from then on every call throws the same.
    public mutating func next() throws(CaptureError) -> CaptureRecord? {
        var record = unsafe cpcap_record()
        switch unsafe cpcap_reader_next(handle, &record) {
        case CPCAP_READING:
            let octets = unsafe PacketBytes(unsafeStart: record.octets, count: Int(record.captured_octets))
            return unsafe CaptureRecord(
                timestampNanoseconds: record.timestamp_nanoseconds, octets: octets,
                originalCount: Int(record.original_octets), linkType: linkType)
        case CPCAP_ENDED:
            return nil
        default:
            throw unsafe readFailure(handle, path: path)
        }
    }
}

/// Why `handle` failed, from what the shim keeps of it.
private func readFailure(_ handle: OpaquePointer, path: String) -> CaptureError {
    switch unsafe cpcap_reader_error_number(handle) {
    case 0:
        let offset = unsafe cpcap_reader_offset_octets(handle)
        let reason = unsafe String(cString: cpcap_reader_reason(handle))
        return .corrupt(path: path, offsetOctets: offset < 0 ? nil : UInt64(offset), reason: reason)
    case ENOENT, ENOTDIR: return .absent(path: path)
    case EACCES, EPERM: return .noPermission(path: path)
    case let errorNumber: return .unreadable(path: path, reason: systemReason(errorNumber))
    }
}

private func captureLinkType(_ number: Int32, path: String) -> Result<CaptureLinkType, CaptureError> {
    switch number {
    case DLT_EN10MB: return .success(.ethernet)
    // LINKTYPE_RAW is 101 in files, and libpcap makes the platform's DLT_RAW of it; some writers put that (12) in the
    // file.
    case DLT_RAW, 101, DLT_IPV4: return .success(.rawIP)
    default:
        let name = unsafe pcap_datalink_val_to_name(number).map { name in unsafe String(cString: name) }
        return .failure(.unsupportedLinkType(path: path, linkType: name ?? String(number)))
    }
}
