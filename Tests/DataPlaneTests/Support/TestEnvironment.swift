import Foundation
import Synchronization
import Testing

@testable import DataPlane

/// All suites that need DPDK: one after the other, because its tables are named and its set-up calls are not for two
/// threads.
@Suite(.serialized)
enum OnDPDK {}

/// DPDK's environment, started once for the process on first use. No other test target may start it: they share the
/// process.
enum TestEnvironment {
    static let memoryMiB = 384
    /// Software in the place of hardware.
    static let cryptoDevices = ["crypto_aesni_mb0", "crypto_openssl0"]

    // EAL makes its caller the main lcore, with caches of its own: a thread that no test runs on.
    private static let failure: DataPlaneError? = {
        let outcome = Mutex<DataPlaneError?>(nil)
        let done = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            do throws(DataPlaneError) {
                try Environment.start(
                    Environment.Settings(
                        workerCores: [], hugePages: false, memoryMiB: memoryMiB,
                        devices: cryptoDevices.map { "\($0),max_nb_queue_pairs=2" }, extraArguments: []),
                    keepAffinity: true)
            } catch { outcome.withLock { $0 = error } }
            done.signal()
        }
        done.wait()
        return outcome.withLock { $0 }
    }()

    private static let names = Atomic<Int>(0)

    /// Every suite of `OnDPDK` calls it first.
    static func start() throws {
        if let failure { throw failure }
    }

    /// A name that nothing in the process has.
    static func name() -> String { "t\(names.add(1, ordering: .relaxed).newValue)" }
}
