import DataPlane
import Foundation
import SAStore

extension CheckReport {
    /// Fewer restarts than this are worth a warning.
    static let fewRestarts: UInt64 = 100

    /// Adds what is left of the outbound SAs' sequence numbers, with a warning for each that is near its end. An SA
    /// that the state directory does not know, or whose directory can't be looked into, is as good as new.
    /// `file` is the site file, as the caller named it. A gateway may be running.
    public mutating func addState(of site: Site, file: String) {
        add(Result { () throws(StoreError) in try StateStore.inspect(directory: site.gateway.stateDirectory) }, file)
    }

    /// The same with what `StateStore.inspect` said.
    mutating func add(_ state: Result<[SARecord], StoreError>, _ file: String) {
        guard var site else { return }
        var records: [SARecord] = []
        switch state {
        case .success(let found): records = found
        case .failure(.inaccessible(let path, let code)) where code == EACCES || code == EPERM:
            note(.note, file, "gateway.state_directory", "\(path) may not be read: SAs are shown as unused")
        case .failure(let error): note(.warning, file, "gateway.state_directory", "\(error)")
        }
        let used = Dictionary(
            records.map { (CheckReport.name($0.identity.spi.description, $0.identity.fingerprint.short), $0) }
        ) { first, _ in first }
        for index in site.tunnels.indices {
            if let few = site.tunnels[index].outbound.add(used) {
                note(
                    .warning, file, "tunnel[\(index)].outbound",
                    "\(few) restarts are left before its sequence numbers are used up",
                    hint: "give the tunnel new keys at both ends (vpn-gw keygen)")
            }
        }
        self.site = site
    }

    fileprivate static func name(_ spi: String, _ key: String) -> String { "\(spi) \(key)" }

    private mutating func note(
        _ severity: ConfigurationProblem.Severity, _ file: String, _ path: String, _ message: String, hint: String = ""
    ) {
        problems.append(
            Problem(
                ConfigurationProblem(severity, file: file, line: nil, path: path, message: message, hint: hint)))
    }
}

extension CheckReport.Association {
    /// What is left of an outbound SA; the number of restarts where it is low.
    fileprivate mutating func add(_ used: [String: SARecord]) -> UInt64? {
        let reserved = used[CheckReport.name(spi, keyFingerprint)]?.sequenceReserved ?? 0
        let left = SARecord.restartsLeft(behind: reserved, last: sequenceNumbersLast ?? 0)
        sequenceNumbersReserved = reserved
        restartsLeft = left
        return left < CheckReport.fewRestarts ? left : nil
    }

    /// For people.
    var restartsText: String? {
        guard let sequenceNumbersReserved, let sequenceNumbersLast, let restartsLeft else { return nil }
        return "\(restartsLeft); \(sequenceNumbersReserved) of \(sequenceNumbersLast) sequence numbers reserved"
    }
}
