import GRDB
import Glibc
import IPsec

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
    /// The store was made on another machine, or for another one.
    case foreignMachine(path: String)
    /// The store was written later (`last`) than it is (`now`), in seconds since 1970.
    case clockWentBack(path: String, last: Int64, now: Int64)
    /// These keys were used before the store was lost or damaged.
    case usedKeys(fingerprints: [KeyFingerprint])
    /// There is no store in the directory, and never was.
    case noStore(directory: String)
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
            "\(path): damaged or no store at all: \(detail). \(StoreError.reset)"
        case .lost(let path):
            "\(path): gone or empty, though this directory had a store. \(StoreError.reset)"
        case .foreignMachine(let path):
            "\(path): made on another machine. If that one is gone or has stopped using these keys for good, "
                + "`vpn-gw state adopt` makes the store this machine's; otherwise give this machine a state_directory "
                + "and keys of its own"
        case .clockWentBack(let path, let last, let now):
            "\(path): last written at \(UTC.text(last)), and it is \(UTC.text(now)) by this machine's clock. "
                + "Set the clock (timedatectl); if the stored time is the wrong one, `vpn-gw state adopt`"
        case .usedKeys(let fingerprints):
            "the state of \(StoreError.names(fingerprints)) was lost, and nothing tells which of its IVs and sequence "
                + "numbers are used: make new keys for both ends with `vpn-gw keygen`"
        case .noStore(let directory):
            "\(directory): no vpn-gw has kept its state here. Is this the site's state_directory? "
                + "The first start of a gateway makes the store by itself"
        case .notDurable(let path, let detail):
            "\(path): SQLite would not keep a commit over a power cut: \(detail). Put state_directory on a local disk"
        case .failed(let path, let detail):
            "\(path): \(detail). Nothing was reserved; see that the disk has room, takes writes and reports no errors"
        }
    }

    /// "key 0123456789abcdef", or the first five of several and their count.
    private static func names(_ fingerprints: [KeyFingerprint]) -> String {
        let names = fingerprints.prefix(5).map(\.short).joined(separator: ", ")
        if fingerprints.count > 5 { return "keys \(names) and \(fingerprints.count - 5) more" }
        return (fingerprints.count == 1 ? "key " : "keys ") + names
    }

    private static let reset =
        "Which IVs and sequence numbers are used is not known any more: `vpn-gw state reset` moves the file aside, "
        + "makes a new store and from then on refuses every key that was ever used here; "
        + "make new keys for both ends with `vpn-gw keygen`"
}
