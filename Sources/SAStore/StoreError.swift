import GRDB
import Glibc

/// Why the store could not be opened, or granted nothing. The description is for the operator and names the way out.
public enum StoreError: Error, Hashable, Sendable {
    /// Another gateway holds the state directory.
    case inUse(directory: String)
    /// The operating system refused a path; `code` is its errno.
    case inaccessible(path: String, code: CInt)
    /// The file is an SQLite database, and not ours.
    case foreignFile(path: String)
    /// A later release of the gateway wrote the file.
    case newerSchema(path: String, version: Int)
    /// The file's contents are not what was written.
    case damaged(path: String, detail: String)
    /// The directory had a store, and its file is gone or empty.
    case lost(path: String)
    /// SQLite does not do what it takes for a commit to survive a power cut.
    case notDurable(path: String, detail: String)
    /// A read or write failed: full disk, I/O error. Nothing was granted.
    case failed(path: String, detail: String)

    /// From whatever GRDB threw. SQLite's messages name tables and columns, never their contents.
    init(_ error: any Error, path: String) {
        switch error {
        case let error as StoreError:
            self = error
        case let error as DatabaseError:
            let detail = "\(error.message ?? "no message") (SQLite error \(error.extendedResultCode.rawValue))"
            switch error.resultCode {
            case .SQLITE_CORRUPT, .SQLITE_NOTADB: self = .damaged(path: path, detail: detail)
            default: self = .failed(path: path, detail: detail)
            }
        default:
            self = .failed(path: path, detail: String(describing: type(of: error)))
        }
    }
}

extension StoreError: CustomStringConvertible {
    /// What is wrong and what to do, in one to three sentences.
    public var description: String {
        switch self {
        case .inUse(let directory):
            "\(directory): another vpn-gw uses this state directory. "
                + "Stop it, or give this one a state_directory of its own"
        case .inaccessible(let path, let code):
            "\(path): \(unsafe String(cString: strerror(code))). "
                + "The state directory must be one that vpn-gw may write, below a directory that exists"
        case .foreignFile(let path):
            "\(path): an SQLite file of another program. "
                + "Move it away, or set state_directory to a directory of vpn-gw's own"
        case .newerSchema(let path, let version):
            "\(path): written by a later vpn-gw (schema \(version), this one knows \(StoreSchema.version)). "
                + "Run that release; this one can't tell which numbers are used"
        case .damaged(let path, let detail):
            "\(path): damaged or no store at all: \(detail). \(StoreError.freshKeys)"
        case .lost(let path):
            "\(path): gone or empty, though this directory had a store. \(StoreError.freshKeys)"
        case .notDurable(let path, let detail):
            "\(path): SQLite would not keep a commit over a power cut: \(detail). Put state_directory on a local disk"
        case .failed(let path, let detail):
            "\(path): \(detail). Nothing was reserved; see that the disk has room, takes writes and reports no errors"
        }
    }

    private static let freshKeys =
        "Which IVs and sequence numbers are used is not known any more: give every tunnel new keys on both sides, "
        + "then move the state directory away and start again"
}
