import CDPDK
import Glibc

/// DPDK's environment (EAL): started once in a process, on a thread that nothing else runs on, because it pins its
/// caller.
///
/// It is never stopped: rings, pools and tables lie in its memory and go with their last reference, whenever that is.
/// It keeps no file that the process's end would leave behind.
public enum Environment {
    /// What to start it with.
    public struct Settings: Sendable {
        /// One lcore for each worker, pinned to the processor of that number.
        public var workerCores: [Int]
        /// False: ordinary memory, no root needed.
        public var hugePages: Bool
        /// What EAL takes at start.
        public var memoryMiB: Int
        /// Devices to probe: PCI addresses and vdev arguments.
        public var devices: [String]
        /// Passed through, last.
        public var extraArguments: [String]

        /// Settings.
        public init(
            workerCores: [Int], hugePages: Bool, memoryMiB: Int, devices: [String], extraArguments: [String]
        ) {
            self.workerCores = workerCores
            self.hugePages = hugePages
            self.memoryMiB = memoryMiB
            self.devices = devices
            self.extraArguments = extraArguments
        }

        // The main lcore starts and stops things and floats over all processors; its number is one that no worker can
        // have.
        static let mainLcore = 127

        /// The command line that EAL reads.
        public var arguments: [String] {
            // Nothing of it on any file system: no hugepage file to leave behind, and any number of gateways on one
            // host.
            var arguments = ["vpn-gw", "--no-telemetry", "--log-level=3"]
            let workers = workerCores.map { "\($0)@\($0)" }
            let everywhere = Environment.processors.map(String.init).joined(separator: ",")
            arguments += ["--lcores", (["\(Settings.mainLcore)@(\(everywhere))"] + workers).joined(separator: ",")]
            arguments += ["--main-lcore", "\(Settings.mainLcore)", "-m", "\(memoryMiB)"]
            arguments += hugePages ? ["--in-memory"] : ["--no-huge", "--no-shconf"]
            let buses = devices.filter(Settings.isPCI)
            arguments += buses.isEmpty ? ["--no-pci"] : buses.flatMap { ["-a", $0] }
            arguments += devices.filter { !Settings.isPCI($0) }.flatMap { ["--vdev", $0] }
            return arguments + extraArguments
        }

        /// Whether a device is a PCI address ("0000:03:00.0", with or without its domain) and not a vdev.
        public static func isPCI(_ device: String) -> Bool {
            let address = device.prefix { $0 != "," }
            let parts = address.split(separator: ":")
            return (2...3).contains(parts.count) && parts.last?.contains(".") == true
                && parts.allSatisfy { $0.allSatisfy { $0.isHexDigit || $0 == "." } }
        }

        /// What DPDK calls the port of a device.
        public static func portName(_ device: String) -> String {
            let name = String(device.prefix { $0 != "," })
            return isPCI(device) && name.split(separator: ":").count == 2 ? "0000:" + name : name
        }
    }

    /// The highest number a worker's core may have.
    public static let highestWorkerCore = Settings.mainLcore - 1

    /// Processors this process may run on.
    public static var processors: [Int] {
        var numbers = [Int32](repeating: 0, count: 1024)
        let count = unsafe cdpdk_processors(&numbers, Int32(numbers.count))
        return count == 0 ? [0] : numbers.prefix(Int(count)).map(Int.init)
    }

    /// Starts EAL. With `keepAffinity` the calling thread stays on the processors it was on (replay and benchmarks,
    /// which have no worker lcores).
    public static func start(_ settings: Settings, keepAffinity: Bool) throws(DataPlaneError) {
        guard cdpdk_version_matches() else { throw .versionMismatch }
        let result = unsafe withArguments(settings.arguments) { count, arguments in
            unsafe cdpdk_eal_init(count, arguments, keepAffinity)
        }
        guard result >= 0 else { throw .environment(error: result, hugePages: settings.hugePages) }
        guard cdpdk_timestamp_register() else {
            throw .noMemory(what: "a field in packet buffers", error: cdpdk_errno())
        }
    }

    /// Runs `body` at the same time on each of these cores, which must be among `workerCores` and idle, and returns
    /// when all have: for benchmarks, whose threads feed the workers that they poll. It is told its place in the list.
    public static func run(on cores: [Int], _ body: @escaping @Sendable (Int) -> Void) {
        for (place, core) in cores.enumerated() {
            let box = unsafe Unmanaged.passRetained(JobBox { body(place) }).toOpaque()
            let error = unsafe rte_eal_remote_launch(runJob, box, UInt32(core))
            precondition(error == 0, "core \(core) is no worker's, or has work")
        }
        cdpdk_wait_lcores()
    }

    /// Sets the heap up for sites of 100 000 SAs: much of their loading would be page faults. Called first of all.
    public static func expectLargeHeap() { cdpdk_expect_large_heap() }

    /// Keeps this process's memory to itself: no core dump is written, and nobody but root may look into it. After
    /// `start`: with physical addresses for devices DPDK reads its own page map, which a process like that may not.
    /// False when the kernel refuses.
    public static func hideMemory() -> Bool { cdpdk_hide_memory() }

    /// Ticks of `rte_rdtsc` in a second.
    public static var ticksPerSecond: UInt64 { rte_get_tsc_hz() }

    /// The clock that live workers use.
    public static var ticks: UInt64 { rte_rdtsc() }

    private static func withArguments(
        _ arguments: [String], _ body: (Int32, UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Int32
    ) -> Int32 {
        // EAL keeps pointers into its arguments for as long as the process lives.
        let vector = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: arguments.count + 1)
        for (index, argument) in arguments.enumerated() { unsafe vector[index] = unsafe strdup(argument) }
        unsafe vector[arguments.count] = nil
        return unsafe body(Int32(arguments.count), vector)
    }
}

private final class JobBox: Sendable {
    let job: @Sendable () -> Void
    init(_ job: @escaping @Sendable () -> Void) { self.job = job }
}

/// What an lcore runs for `Environment.run`.
@c
private func runJob(_ argument: UnsafeMutableRawPointer?) -> CInt {
    guard let argument = unsafe argument else { return -1 }
    unsafe Unmanaged<JobBox>.fromOpaque(argument).takeRetainedValue().job()
    return 0
}
