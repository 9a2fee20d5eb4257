import DataPlane
import ESP
import Foundation

/// The machine as `doctor` sees it: files, and what only system calls tell. A test puts its own in their places.
struct Surroundings: Sendable {
    /// What no file tells.
    struct Calls: Sendable {
        /// The process's user.
        var user: UInt32
        /// DPDK's version: "22.11.4".
        var dpdkVersion: String
        /// Where DPDK's drivers are.
        var driverDirectory: String
        /// libipsec-mb's version.
        var cryptoVersion: String
        /// Free octets of the file system that a path is on.
        var freeOctets: @Sendable (String) -> UInt64?
        /// Whether the kernel's clock follows another; nil when it does not say.
        var isClockSynchronized: @Sendable () -> Bool?
        /// Of an interface's offloads those that are on, as `ethtool -K` calls them; nil when they can't be asked for.
        var offloads: @Sendable (String) -> Set<String>?
        /// The driver of an interface: "veth"; nil when it can't be asked for.
        var driver: @Sendable (String) -> String?
    }

    /// What a file is.
    struct Status: Sendable {
        var isDirectory: Bool, permissions: UInt32, owner: UInt32, inode: UInt64
    }

    /// In front of every path; empty for this machine.
    var root = ""
    var calls: Calls

    /// This machine.
    static var system: Surroundings {
        Surroundings(
            calls: Calls(
                user: geteuid(), dpdkVersion: DPDKVersion.text, driverDirectory: DPDKVersion.driverDirectory,
                cryptoVersion: CryptoVersion.text, freeOctets: freeOctets,
                isClockSynchronized: { SystemClock.isSynchronized },
                offloads: offloads, driver: driver))
    }

    /// A file's text without white space around it; nil when it can't be read.
    func text(_ path: String) -> String? {
        guard let data = FileManager.default.contents(atPath: root + path) else { return nil }
        return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    func number(_ path: String) -> Int? { text(path).flatMap { Int($0) } }

    /// The names in a directory, in order; none when it can't be read.
    func list(_ path: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: root + path)) ?? []).sorted {
            $0.compare($1, options: .numeric) == .orderedAscending
        }
    }

    func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: root + path) }

    /// Whether this process may read and write a file.
    func isOpen(_ path: String) -> Bool {
        FileManager.default.isReadableFile(atPath: root + path)
            && FileManager.default.isWritableFile(atPath: root + path)
    }

    /// The last part of where a symbolic link leads.
    func link(_ path: String) -> String? {
        guard let target = try? FileManager.default.destinationOfSymbolicLink(atPath: root + path) else { return nil }
        return target.split(separator: "/").last.map(String.init)
    }

    func status(_ path: String) -> Status? {
        var status = stat()
        guard unsafe stat(root + path, &status) == 0 else { return nil }
        return Status(
            isDirectory: status.st_mode & S_IFMT == S_IFDIR, permissions: UInt32(status.st_mode) & 0o7777,
            owner: status.st_uid, inode: UInt64(status.st_ino))
    }

    /// The numbers of a list as the kernel writes it: "0-2,5". What is no number is left out.
    static func numbers(_ list: String) -> [Int] {
        list.split(separator: ",").flatMap { part -> [Int] in
            let ends = part.split(separator: "-").compactMap { Int($0) }
            guard let first = ends.first, let last = ends.last, first <= last, last < 1 << 16 else { return [] }
            return Array(first...last)
        }
    }

    // MARK: System calls

    @Sendable
    private static func freeOctets(_ path: String) -> UInt64? {
        var status = statvfs()
        guard unsafe statvfs(path, &status) == 0 else { return nil }
        return UInt64(status.f_bavail) * UInt64(status.f_frsize)
    }

    /// The older commands of ethtool, which every driver answers: each asks for one offload.
    @Sendable
    private static func offloads(_ interface: String) -> Set<String>? {
        let questions: [(name: String, command: UInt32, mask: UInt32)] = [
            ("rx", 0x14, .max), ("tx", 0x16, .max), ("tso", 0x1e, .max), ("gso", 0x23, .max), ("gro", 0x2b, .max),
            ("lro", 0x25, 1 << 15),
        ]
        var found: Set<String> = []
        for question in questions {
            // Linux's struct ethtool_value: the command, then the answer.
            let answer = ethtool(interface, question.command, octets: 8)
            switch answer {
            case .answer(let octets):
                let value = octets[4..<8].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
                if value & question.mask != 0 { found.insert(question.name) }
            case .notSupported: continue
            case .failed: return nil
            }
        }
        return found
    }

    /// Linux's struct ethtool_drvinfo: the command, then 32 octets of name.
    @Sendable
    private static func driver(_ interface: String) -> String? {
        guard case .answer(let octets) = ethtool(interface, 0x03, octets: 196) else { return nil }
        return String(decoding: octets[4..<36].prefix { $0 != 0 }, as: UTF8.self)
    }

    private enum Answer { case answer([UInt8]), notSupported, failed }

    /// Asks a driver with a structure of so many octets that begins with `command`.
    private static func ethtool(_ interface: String, _ command: UInt32, octets: Int) -> Answer {
        let name = Array(interface.utf8)
        guard !name.isEmpty, name.count < 16 else { return .failed }
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        guard descriptor >= 0 else { return .failed }
        defer { close(descriptor) }
        var structure = [UInt8](repeating: 0, count: octets)
        structure[0] = UInt8(command)
        let result = unsafe structure.withUnsafeMutableBytes { structure -> CInt in
            // Linux's struct ifreq: 16 octets of name, then a union of 24 that begins with the structure's address.
            unsafe withUnsafeTemporaryAllocation(byteCount: 40, alignment: 8) { request -> CInt in
                guard let start = request.baseAddress else { return -1 }
                unsafe start.initializeMemory(as: UInt8.self, repeating: 0, count: 40)
                for (index, octet) in name.enumerated() {
                    unsafe start.storeBytes(of: octet, toByteOffset: index, as: UInt8.self)
                }
                let address = UInt(bitPattern: structure.baseAddress)
                unsafe start.storeBytes(of: address, toByteOffset: 16, as: UInt.self)
                return unsafe ioctl(descriptor, 0x8946, start)
            }
        }
        return result == 0 ? .answer(structure) : errno == EOPNOTSUPP ? .notSupported : .failed
    }
}
