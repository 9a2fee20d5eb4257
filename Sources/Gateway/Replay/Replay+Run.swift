import Foundation
import SAStore

extension Replay {
    /// A whole replay as the command line asks for it. `progress` is told how many records were taken, now and then.
    ///
    /// After an input that turned out corrupt, what came before is processed and all files are complete, and then its
    /// error is thrown.
    public static func run(_ site: Site, _ options: ReplayOptions, progress: (UInt64) -> Void) throws -> Report {
        var replay = try Replay(site.topology, options)
        var failure: (any Error)?
        do {
            var nextMark: UInt64 = 0
            while try replay.step() {
                if replay.records >= nextMark {
                    progress(replay.records)
                    nextMark = replay.records + 65536
                }
            }
            progress(replay.records)
        } catch { failure = error }
        let report = try replay.finish()
        if let path = options.reportPath { try FileOutput.write(try report.json(), to: path, isPrivate: true) }
        if let failure { throw failure }
        return report
    }

    /// The tunnels whose keys the state directory knows from run mode: replaying them would repeat their nonces.
    public static func usedTunnels(_ site: Site) throws(StoreError) -> [String] {
        let known = try StateStore.knownFingerprints(directory: site.gateway.stateDirectory)
        guard !known.isEmpty else { return [] }
        return site.topology.tunnels.filter { tunnel in
            tunnel.children.flatMap { [$0.outbound.key, $0.inbound.key] }.contains {
                known.contains($0.fingerprint)
            }
        }.map(\.name)
    }
}
