// The service manager's side of a start: sd_notify(3), by the datagrams themselves.

import Foundation

/// Tells the service manager how the gateway is, where there is one that asked (NOTIFY_SOCKET).
///
/// A datagram that can't be sent is forgotten: a gateway does not stop because nobody listens.
struct ServiceManager: Sendable {
    /// Nil: nobody asked.
    private let address: [UInt8]?
    /// Half of what the manager waits for, at most: how often it wants to hear `WATCHDOG=1`. Nil when it does not watch
    /// this process.
    let watchdogInterval: Duration?

    /// Of this process's environment.
    static let system = ServiceManager(ProcessInfo.processInfo.environment, process: getpid())

    /// - Parameter process: this process's number, which WATCHDOG_PID must name where it is set.
    init(_ environment: [String: String], process: Int32) {
        // A path, or "@" and a name of the abstract namespace, which begins with NUL for the kernel.
        let name = Array((environment["NOTIFY_SOCKET"] ?? "").utf8)
        let isUsable = name.count > 1 && name.count <= UnixSocketAddress.longestPath && !name.contains(0)
        switch name.first {
        case UInt8(ascii: "/") where isUsable: address = name
        case UInt8(ascii: "@") where isUsable: address = [0] + name.dropFirst()
        default: address = nil
        }
        let isOurs = environment["WATCHDOG_PID"].map { $0 == "\(process)" } ?? true
        let microseconds = environment["WATCHDOG_USEC"].flatMap { Int64($0) } ?? 0
        watchdogInterval = address != nil && isOurs && microseconds > 0 ? .microseconds(microseconds / 3) : nil
    }

    /// Workers run, and `status` is what there is to say.
    func ready(_ status: String) { send(["READY=1", "STATUS=\(ServiceManager.line(status))"]) }

    /// The site is being read again; `ready` follows.
    func reloading() {
        var now = timespec()
        unsafe _ = clock_gettime(CLOCK_MONOTONIC, &now)
        send(["RELOADING=1", "MONOTONIC_USEC=\(now.tv_sec * 1_000_000 + now.tv_nsec / 1000)"])
    }

    /// Packets in flight are being finished.
    func stopping() { send(["STOPPING=1", "STATUS=stopping"]) }

    /// One line for people.
    func status(_ text: String) { send(["STATUS=\(ServiceManager.line(text))"]) }

    /// Every worker has advanced since the last time.
    func isAlive() { send(["WATCHDOG=1"]) }

    /// A newline would begin another assignment.
    private static func line(_ text: String) -> String { text.replacing("\n", with: " ") }

    private func send(_ assignments: [String]) {
        guard let address else { return }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let message = Array(assignments.joined(separator: "\n").utf8)
        var target = sockaddr_un()
        target.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &target.sun_path) { memory in
            for (index, octet) in address.enumerated() { unsafe memory[index] = octet }
        }
        // A name of the abstract namespace is as long as it is said to be.
        let length = socklen_t(MemoryLayout<sa_family_t>.size + address.count + (address[0] == 0 ? 0 : 1))
        unsafe withUnsafePointer(to: &target) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
                unsafe _ = sendto(descriptor, message, message.count, flags, pointer, length)
            }
        }
    }
}
