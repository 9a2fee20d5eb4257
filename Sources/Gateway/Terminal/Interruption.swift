import Dispatch
import Glibc
import Synchronization

/// Whether somebody has asked this process to end, by SIGINT, SIGTERM or SIGHUP: for commands that run until then and
/// have something to leave in order.
struct Interruption {
    private final class Flag: Sendable {
        let isSet = Atomic(false)
    }

    private let flag: Flag
    private let sources: [any DispatchSourceSignal]

    /// From now on the signals end nothing by themselves.
    init() {
        let flag = Flag()
        sources = [SIGINT, SIGTERM, SIGHUP].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { flag.isSet.store(true, ordering: .releasing) }
            source.activate()
            return source
        }
        self.flag = flag
    }

    /// Whether it is time to end.
    var isRequested: Bool { flag.isSet.load(ordering: .acquiring) }
}
