import Glibc

/// The path of a Unix socket, as system calls take it.
enum UnixSocketAddress {
    /// The longest path in octets.
    static let longestPath = 107

    /// Calls `body` with the address of `path`. Nil when the path is empty, too long, or has a NUL.
    static func with<Result>(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result? {
        guard !path.isEmpty, path.utf8.count <= longestPath, !path.utf8.contains(0) else { return nil }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { memory in
            for (index, octet) in path.utf8.enumerated() { unsafe memory[index] = octet }
        }
        return unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    /// What SO_PEERCRED fills, in the order of Linux's `struct ucred`, which Glibc's module does not have: process,
    /// user, group.
    typealias Credentials = (Int32, UInt32, UInt32)

    /// What the kernel knows of the process at the other end of a connected socket. Nil when it says nothing.
    static func peer(of descriptor: CInt) -> ControlPeer? {
        var credentials: Credentials = (0, 0, 0)
        var length = socklen_t(MemoryLayout<Credentials>.size)
        guard unsafe getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0,
            length == MemoryLayout<Credentials>.size
        else { return nil }
        return ControlPeer(credentials)
    }
}

extension ControlPeer {
    /// Of what the kernel tells.
    init(_ credentials: UnixSocketAddress.Credentials) {
        self.init(uid: credentials.1, gid: credentials.2, pid: credentials.0)
    }
}
