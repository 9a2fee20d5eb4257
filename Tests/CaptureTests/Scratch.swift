import Capture
import Foundation
import Testing
import Wire

/// A directory of a test's own, removed with what is in it.
final class Scratch: Sendable {
    let path: String

    init() {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("vpn-gw-capture-\(UUID())").path
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        } catch {
            Issue.record(error)
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The full name of a file, which need not exist.
    func file(_ name: String) -> String { "\(path)/\(name)" }

    /// A file of `octets`; its full name.
    func file(_ name: String, _ octets: [UInt8]) -> String {
        #expect(FileManager.default.createFile(atPath: file(name), contents: Data(octets)))
        return file(name)
    }
}

/// A file's octets.
func contents(_ path: String) -> [UInt8] { FileManager.default.contents(atPath: path).map { Array($0) } ?? [] }

/// Sets a file's permission bits.
func setPermissions(_ path: String, _ bits: mode_t) { unsafe chmod(path, bits) }

/// A file's permission bits.
func permissions(_ path: String) -> mode_t {
    var status = stat()
    #expect(unsafe stat(path, &status) == 0)
    return status.st_mode & 0o7777
}

/// Runs `body` with the file access of nobody where the tests run as root, who may open everything. Only this thread's:
/// the other tests keep theirs.
func withoutPrivileges<Result>(_ body: () -> Result) -> Result {
    guard geteuid() == 0 else { return body() }
    // <sys/fsuid.h> is not in Swift's Glibc.
    typealias SetUser = @convention(c) (uid_t) -> Int32
    guard let symbol = unsafe dlsym(dlopen(nil, RTLD_NOW), "setfsuid") else {
        preconditionFailure("glibc has setfsuid")
    }
    let setUser = unsafe unsafeBitCast(symbol, to: SetUser.self)
    _ = setUser(65534)
    defer { _ = setUser(0) }
    return body()
}

/// What reading a file to its end or its error gives.
struct Reading {
    var records: [PlainRecord] = []
    var cut: [Bool] = []
    var linkType: CaptureLinkType?
    var error: CaptureError?

    init(_ path: String) {
        do throws(CaptureError) {
            var reader = try CaptureReader(path: path)
            linkType = reader.linkType
            while let record = try reader.next() {
                records.append(
                    PlainRecord(
                        record.timestampNanoseconds, record.octets.array, originalCount: record.originalCount))
                cut.append(record.isCut)
            }
        } catch {
            self.error = error
        }
    }

    /// The offset of a `.corrupt`.
    var corruptAt: UInt64? {
        guard case .corrupt(_, let offset, _) = error else { return nil }
        return offset
    }
}
