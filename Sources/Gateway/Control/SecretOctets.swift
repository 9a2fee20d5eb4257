import Glibc
import NIOCore

/// Overwrites octets that may hold keys.
enum SecretOctets {
    /// Every octet of `octets` becomes 0, in place when nobody else holds the array.
    static func wipe(_ octets: inout [UInt8]) {
        unsafe octets.withUnsafeMutableBytes { memory in
            guard let base = memory.baseAddress else { return }
            unsafe explicit_bzero(base, memory.count)
        }
    }

    /// The readable octets of `buffer` become 0 in the memory that it shares with all its copies and slices: the point
    /// is that none of them keeps the secret. The caller knows that nobody reads them any more.
    static func wipeShared(_ buffer: ByteBuffer) {
        unsafe buffer.withUnsafeReadableBytes { memory in
            guard let base = memory.baseAddress else { return }
            unsafe explicit_bzero(UnsafeMutableRawPointer(mutating: base), memory.count)
        }
    }
}
