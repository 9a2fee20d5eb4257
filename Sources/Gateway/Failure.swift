import Capture
import DataPlane
import Foundation
import SAStore
import Synchronization

/// Any error that ends a command, as its operator sees it: a message that says what to do, and an exit code.
public struct Failure: Sendable {
    /// One or more lines for stderr.
    public let message: String
    /// What the process ends with.
    public let exitCode: ExitCode

    /// What `error` means. An error of a kind that nobody expected is a bug, and so 70.
    public init(_ error: any Error) {
        switch error {
        case let error as ConfigurationError:
            message = "\(error)"
            exitCode = error.exitCode
        case let error as CaptureError:
            message = "\(error)"
            exitCode = ExitCode(rawValue: error.exitCode) ?? .software
        case let error as ReplayError:
            message = "\(error)"
            exitCode = error.exitCode
        case let error as ReloadRefusal:
            message = "\(error)"
            exitCode = .configuration
        case let error as MachineError:
            message = "\(error)"
            exitCode = error.exitCode
        case let error as UsedKeys:
            message = "\(error)"
            exitCode = .configuration
        case let error as ControlSocketError:
            message = "\(error)"
            exitCode = error.exitCode
        case let error as ControlClientError:
            message = "\(error)"
            exitCode = error.exitCode
        case let error as PortUnknown:
            message = "\(error)"
            exitCode = .usage
        case let error as Top.NoTerminal:
            message = error.description
            exitCode = .usage
        case let error as PeerExport.Refusal:
            message = error.description
            exitCode = .configuration
        case let error as KeyFileError:
            message = "\(error)"
            exitCode = error.exitCode
        case let error as StoreError:
            message = "state store: \(error)"
            exitCode = Failure.exitCode(of: error)
        case let error as DataPlaneError:
            message = Failure.describe(error)
            exitCode = Failure.exitCode(of: error)
        default:
            message = "unexpected: \(error)"
            exitCode = .software
        }
    }

    private static func exitCode(of error: StoreError) -> ExitCode {
        switch error {
        case .inaccessible(_, let code) where code == EACCES || code == EPERM: .noPermission
        case .noStore: .noInput
        default: .io
        }
    }

    private static func describe(_ error: DataPlaneError) -> String {
        switch error {
        case .environment(let code, let hugePages):
            "DPDK did not start: \(reason(code)): its own messages are above"
                + (hugePages
                    ? "; are there hugepages (`sysctl vm.nr_hugepages`)? huge_pages = false does without" : "")
        case .versionMismatch:
            "the DPDK library that is installed is not the version vpn-gw was built with: "
                + "`apt-get install --reinstall libdpdk-dev`, and build again"
        case .noDevice(let port, let device):
            "port \(port): DPDK has no device \"\(device)\": "
                + (Environment.Settings.isPCI(device)
                    ? "is it bound to vfio-pci (`dpdk-devbind.py -s`)?"
                    : "are the vdev's name and arguments right? Without root, the rings of net_af_packet must also fit "
                        + "`ulimit -l`")
        case .portFailed(let port, let driver, let step, let code):
            "port \(port): \(driver) did not \(step) the port: \(reason(code))"
        case .tooFewQueues(let port, let driver, let offered, let workers):
            "port \(port): \(driver) gives \(offered) transmit queue(s), \(workers) workers need \(workers): "
                + "use fewer worker_cores"
                + (driver == "net_af_packet" ? ", or add ,qpairs=\(workers) to its device" : "")
        case .noCoprocessor(let device):
            "crypto_devices: DPDK has no crypto device \"\(device)\": "
                + (Environment.Settings.isPCI(device)
                    ? "is it bound to vfio-pci (`dpdk-devbind.py -s`)?"
                    : "are the vdev's name and arguments right, and is its driver installed (librte_crypto_…)?")
        case .coprocessorFailed(let device, let driver, let step, let code):
            "crypto_devices: \(driver) did not \(step) \(device)"
                + (code == 0 ? ": it can't be used for AES-128-GCM by this many workers" : ": \(reason(code))")
        case .noMemory(let what, let code):
            "no memory for \(what): \(reason(code)): raise memory_mib in [dpdk]"
        case .noCrypto: "libipsec-mb does not run here: this processor has no AES instructions"
        case .tooManyAssociations(let limit): "more SAs than the \(limit) that a gateway has room for"
        case .table(let what, let code): "can't build \(what): \(reason(code))"
        }
    }

    private static func exitCode(of error: DataPlaneError) -> ExitCode {
        switch error {
        case .environment(let code, _), .portFailed(_, _, _, let code), .coprocessorFailed(_, _, _, let code):
            code == -EACCES || code == -EPERM ? .noPermission : .unavailable
        case .versionMismatch, .noDevice, .tooFewQueues, .noCoprocessor, .noMemory, .noCrypto: .unavailable
        case .tooManyAssociations: .configuration
        case .table: .software
        }
    }

    private static func reason(_ code: Int32) -> String { unsafe String(cString: strerror(abs(code))) }
}

/// A replay of keys that are in use on the wire was refused.
public struct UsedKeys: Error, CustomStringConvertible, Sendable {
    let tunnels: [String]

    /// Of these tunnels.
    public init(tunnels: [String]) { self.tunnels = tunnels }

    /// One line with the way out.
    public var description: String {
        "the keys of \(tunnels.prefix(5).joined(separator: ", ")) have been used on the wire by this state directory; "
            + "replaying them repeats nonces: use other keys, or --reuse-keys if the files stay on this machine"
    }
}

/// Text for people, beside what a command prints.
public enum StandardError {
    /// Writes at once.
    public static func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
    /// Whether a person is looking.
    public static var isTerminal: Bool { isatty(STDERR_FILENO) == 1 }
}

/// One line on a terminal that is written over and over; nothing where there is none.
public final class Progress: Sendable {
    private struct Line {
        var lastShown = ContinuousClock.now - .seconds(1)
        var isOpen = false
    }

    private let isShown = StandardError.isTerminal
    private let line = Mutex(Line())

    /// Nothing is shown before the first `show`.
    public init() {}

    /// Says how far a replay is; at most five times a second.
    public func show(records: UInt64) {
        guard isShown, line.withLock({ ContinuousClock.now - $0.lastShown > .milliseconds(200) }) else { return }
        show("\(records) packets")
    }

    /// Replaces the line.
    public func show(_ text: String) {
        guard isShown else { return }
        line.withLock {
            $0.lastShown = .now
            $0.isOpen = true
            StandardError.write("\r\u{1b}[K\(text)")
        }
    }

    /// Takes the line away.
    public func end() {
        line.withLock {
            if $0.isOpen { StandardError.write("\r\u{1b}[K") }
            $0.isOpen = false
        }
    }
}
