// `vpn-gw doctor`: what this machine lacks for a site, or for any, before DPDK says it in a number. It looks, and never
// changes anything.
//
// In order: the processor and its clocks; memory; DPDK and its drivers; each port's device and each crypto device; this
// process's privileges; the cores that workers take; the state directory.

import DataPlane
import Foundation

/// Looks at a machine. A function of the machine and the site alone.
public struct Doctor: Sendable {
    let machine: Surroundings
    /// Nil: no site is at hand, and what only some sites need is a warning at worst.
    let site: Site?
    /// What the process may do, from /proc/self/status.
    let privileges: Privileges

    init(_ machine: Surroundings, site: Site?) {
        self.machine = machine
        self.site = site
        privileges = Privileges(machine)
    }

    /// What this machine lacks for `site`; for any site when it is nil.
    public static func examine(site: Site?) -> Report { Doctor(.system, site: site).report }

    var report: Report {
        var findings: [Finding] = [processor, clock, time]
        findings += [hugePages] + nodes + [lockedMemory].compactMap(\.self)
        findings += [dpdk, crypto] + drivers
        if let site {
            if hasPCIDevices { findings.append(translation(isNeeded: true)) }
            for port in site.topology.ports { findings += examine(port) }
            findings += coprocessors
        } else {
            findings.append(translation(isNeeded: false))
            findings += adapters
        }
        findings += [capabilities] + cores + governors
        findings += state
        return Report(findings: findings)
    }

    /// Every port's device that is a PCI address, written with its domain.
    static func address(of device: String) -> String? {
        Environment.Settings.isPCI(device) ? Environment.Settings.portName(device) : nil
    }

    /// What the doctor says.
    public struct Report: Sendable, Encodable {
        /// In the order in which they were looked at.
        public let findings: [Finding]

        /// 69 when something fails.
        public var exitCode: ExitCode { findings.contains { $0.level == .fail } ? .unavailable : .ok }

        private func count(_ level: Finding.Level) -> Int { findings.count { $0.level == level } }

        /// A line for each finding, its remedy below it, and the sum.
        public var text: String {
            let width = findings.map(\.subject.count).max() ?? 0
            var lines: [String] = []
            for finding in findings {
                let level = finding.level.rawValue.padding(toLength: 4, withPad: " ", startingAt: 0)
                let subject = finding.subject.padding(toLength: width, withPad: " ", startingAt: 0)
                lines.append("\(level)  \(subject)  \(finding.text)")
                if let remedy = finding.remedy {
                    lines.append(String(repeating: " ", count: 8 + width) + "-> " + remedy)
                }
            }
            lines.append("\(count(.ok)) ok, \(count(.warn)) to look at, \(count(.fail)) to mend")
            return lines.joined(separator: "\n") + "\n"
        }

        /// The findings as an object, with sorted keys and a newline at its end.
        public var json: String {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            // Strings always encode.
            return String(decoding: (try? encoder.encode(self)) ?? Data("{}".utf8), as: UTF8.self) + "\n"
        }
    }
}

/// What this process may do.
struct Privileges: Sendable {
    /// The capabilities that a gateway can use: capability.h's numbers.
    enum Capability: Int, CaseIterable {
        case netAdmin = 12, netRaw = 13, ipcLock = 14, sysNice = 23

        var name: String {
            switch self {
            case .netAdmin: "CAP_NET_ADMIN"
            case .netRaw: "CAP_NET_RAW"
            case .ipcLock: "CAP_IPC_LOCK"
            case .sysNice: "CAP_SYS_NICE"
            }
        }
    }

    let held: Set<Capability>
    /// Processors that it may run on.
    let processors: [Int]
    /// Octets that it may lock in memory; nil: any number.
    let lockableOctets: UInt64?

    init(_ machine: Surroundings) {
        var fields: [Substring: String] = [:]
        for line in (machine.text("/proc/self/status") ?? "").split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2 { fields[parts[0]] = parts[1].trimmingCharacters(in: .whitespaces) }
        }
        let bits = fields["CapEff"].flatMap { UInt64($0, radix: 16) } ?? 0
        held = Set(Capability.allCases.filter { bits >> UInt64($0.rawValue) & 1 == 1 })
        processors = Surroundings.numbers(fields["Cpus_allowed_list"] ?? "")
        let limits = (machine.text("/proc/self/limits") ?? "").split(separator: "\n")
        let line = limits.first { $0.hasPrefix("Max locked memory") }
        lockableOctets = line.flatMap { $0.split(separator: " ").dropFirst(3).first }.flatMap { UInt64($0) }
    }
}
