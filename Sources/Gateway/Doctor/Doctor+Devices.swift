import DataPlane
import Foundation

/// DPDK, its drivers, and what ports are made of.
extension Doctor {
    private static let classes = "/sys/class/net"

    var dpdk: Finding {
        let directory = machine.calls.driverDirectory
        let version = machine.calls.dpdkVersion
        // Debian's library looks there for the drivers of its own version.
        return machine.exists(directory)
            ? .ok("dpdk", version)
            : .fail("dpdk", "\(version) is loaded, and its drivers are not there (\(directory))", Doctor.installDrivers)
    }

    private static let installDrivers = "apt-get install --no-install-recommends dpdk librte-meta-allpmds"

    var crypto: Finding { .ok("libipsec-mb", machine.calls.cryptoVersion) }

    /// DPDK's drivers that are there: "net_tap".
    var installedDrivers: Set<String> {
        // "librte_net_tap.so.23"; the name without a version comes with the development package.
        Set(
            machine.list(machine.calls.driverDirectory).compactMap { name -> String? in
                guard let end = name.range(of: ".so"), name.hasPrefix("librte_") else { return nil }
                return String(name[..<end.lowerBound].dropFirst(7))
            })
    }

    /// The command that brings a driver.
    static func install(_ driver: String) -> String {
        "apt-get install 'librte-\(driver.replacing("_", with: "-"))[0-9]*'"
    }

    /// The drivers of a site's ports, or how many there are.
    var drivers: [Finding] {
        let directory = machine.calls.driverDirectory, files = installedDrivers
        func has(_ driver: String) -> Bool { files.contains(driver) }
        guard let site else {
            let count = files.count { $0.hasPrefix("net_") }
            guard machine.exists(directory) else { return [] }
            return [
                count > 0
                    ? .ok("drivers", "\(count) network drivers are installed")
                    : .fail("drivers", "no network driver is installed (\(directory))", Doctor.installDrivers)
            ]
        }
        var missing: Set<String> = []
        for port in site.topology.ports where Doctor.address(of: port.device) == nil {
            let name = String(port.device.prefix { $0 != "," })
            let driver = String(name.reversed().drop { $0.isNumber }.reversed())
            // net_ring comes with the program.
            if driver.hasPrefix("net_"), driver != "net_ring", !has(driver) { missing.insert(driver) }
        }
        if hasPCIDevices, !has("bus_pci") { missing.insert("bus_pci") }
        return missing.sorted().map { driver in
            .fail(
                "drivers", "DPDK's driver \(driver) is not installed (\(directory)/librte_\(driver).so.*)",
                Doctor.install(driver))
        }
    }

    /// Whether the site's ports or crypto devices are on the PCI bus.
    var hasPCIDevices: Bool {
        let devices = (site?.topology.ports.map(\.device) ?? []) + (site?.dpdk.cryptoDevices ?? [])
        return devices.contains { Doctor.address(of: $0) != nil }
    }

    /// Whether devices can reach this process's memory and no other.
    func translation(isNeeded: Bool) -> Finding {
        let hasGroups = !machine.list("/sys/kernel/iommu_groups").isEmpty
        let isLoaded = machine.exists("/sys/module/vfio_pci") || machine.exists("/sys/bus/pci/drivers/vfio-pci")
        let parameter = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
        let isUnsafe = ["Y", "1"].contains(machine.text(parameter) ?? "")
        func complain(_ text: String, _ remedy: String) -> Finding {
            isNeeded ? .fail("iommu", text, remedy) : .warn("iommu", "\(text); only PCI devices need it", remedy)
        }
        guard isLoaded else { return complain("the driver vfio-pci is not loaded", "modprobe vfio-pci") }
        if hasGroups { return .ok("iommu", "on, and vfio-pci is loaded") }
        guard isUnsafe else {
            return complain(
                "there is no IOMMU",
                "switch VT-d or AMD-Vi on in the firmware and intel_iommu=on iommu=pt on the kernel command line; "
                    + "in a virtual machine without one: echo 1 > \(parameter)")
        }
        return .warn(
            "iommu", "vfio runs without an IOMMU: a device, or who controls it, can read and write all memory",
            "intel_iommu=on iommu=pt on the kernel command line")
    }

    /// Network adapters on the PCI bus, for who has no site yet.
    var adapters: [Finding] {
        machine.list("/sys/bus/pci/devices").compactMap { address in
            let directory = "/sys/bus/pci/devices/\(address)"
            guard machine.text("\(directory)/class")?.hasPrefix("0x02") ?? false else { return nil }
            let driver = machine.link("\(directory)/driver") ?? "no driver"
            // A virtio adapter has its interface one step below.
            let virtual = machine.list(directory).filter { $0.hasPrefix("virtio") }.map { "\(directory)/\($0)" }
            let names = ([directory] + virtual).flatMap { machine.list("\($0)/net") }
            let used = names.isEmpty ? "" : ", the kernel's \(names.joined(separator: ", "))"
            return .ok("adapter", "\(address): \(driver)\(used)")
        }
    }

    // MARK: Ports

    func examine(_ port: Topology.Port) -> [Finding] {
        if let address = Doctor.address(of: port.device) {
            return [examine(address, "port \(port.name)", search: "lspci -D | grep -i ethernet")]
        }
        guard let interface = Machine.interface(of: port.device) else {
            return [.ok("port \(port.name)", "\(port.device) makes its own device")]
        }
        return examine(port, interface: interface)
    }

    /// Drivers that DPDK shares a device with.
    private static let shared = ["mlx5_core", "mlx4_core", "mana"]
    /// Drivers that hand a device over.
    private static let passing = ["vfio-pci", "igb_uio", "uio_pci_generic", "uio_hv_generic"]

    /// A PCI device; `search` is the command that finds the right one.
    func examine(_ address: String, _ subject: String, search: String) -> Finding {
        let directory = "/sys/bus/pci/devices/\(address)"
        guard machine.exists(directory) else {
            return .fail(subject, "there is no PCI device \(address)", search)
        }
        guard let driver = machine.link("\(directory)/driver") else {
            return .fail(subject, "\(address) has no driver", "dpdk-devbind.py --bind=vfio-pci \(address)")
        }
        if Doctor.shared.contains(driver) { return .ok(subject, "\(address): \(driver), which DPDK shares") }
        guard Doctor.passing.contains(driver) else {
            let names = machine.list("\(directory)/net")
            let used = names.isEmpty ? "" : " (\(names.joined(separator: ", ")): it goes away from there)"
            return .fail(
                subject, "\(address) is the kernel's, by \(driver)\(used)",
                "dpdk-devbind.py --bind=vfio-pci \(address)")
        }
        if driver == "vfio-pci", let group = machine.link("\(directory)/iommu_group") {
            let device = "/dev/vfio/\(group)"
            guard machine.isOpen(device) || machine.isOpen("/dev/vfio/noiommu-\(group)") else {
                return .fail(
                    subject, "\(address) is in IOMMU group \(group), and this user may not open \(device)",
                    "chown $(id -u) \(device)")
            }
        }
        return .ok(subject, "\(address): \(driver)")
    }

    private func examine(_ port: Topology.Port, interface: String) -> [Finding] {
        let subject = "port \(port.name)", directory = "\(Doctor.classes)/\(interface)"
        guard machine.exists(directory) else {
            return [.fail(subject, "there is no network interface \(interface) here", "ip link")]
        }
        var findings: [Finding] = []
        let flags = machine.text("\(directory)/flags").flatMap { UInt32($0.dropFirst(2), radix: 16) } ?? 1
        if flags & 1 == 0 {
            findings.append(.fail(subject, "\(interface) is down", "ip link set \(interface) up"))
        } else if machine.text("\(directory)/carrier") == "0" {
            findings.append(.warn(subject, "\(interface) has no link: is the cable in, and the other end up?"))
        }
        if let octets = machine.number("\(directory)/mtu"), octets < port.mtuOctets {
            findings.append(
                .fail(
                    subject, "\(interface) takes packets of \(octets) octets, mtu_octets is \(port.mtuOctets)",
                    "ip link set \(interface) mtu \(port.mtuOctets)"))
        }
        let merging = (machine.calls.offloads(interface) ?? []).intersection(["gro", "lro"]).sorted()
        if !merging.isEmpty {
            findings.append(
                .warn(
                    subject,
                    "\(interface) merges packets (\(merging.joined(separator: ", "))): those larger than the "
                        + "MTU are lost",
                    "ethtool -K \(interface) \(merging.map { "\($0) off" }.joined(separator: " "))"))
        }
        if let finding = otherEnd(of: interface, subject) { findings.append(finding) }
        return findings.isEmpty ? [.ok(subject, "\(interface) is up, \(port.device.prefix { $0 != "," })")] : findings
    }

    /// What a veth's other end leaves to a device that is none: checksums that nobody fills in, segments that nobody
    /// cuts.
    private func otherEnd(of interface: String, _ subject: String) -> Finding? {
        guard machine.calls.driver(interface) == "veth" else { return nil }
        let own = machine.number("\(Doctor.classes)/\(interface)/ifindex")
        let other = machine.number("\(Doctor.classes)/\(interface)/iflink")
        // An index is a namespace's: in another one it may be any interface's, or this one's own.
        let found = machine.list(Doctor.classes).first {
            $0 != interface && machine.number("\(Doctor.classes)/\($0)/ifindex") == other
                && machine.number("\(Doctor.classes)/\($0)/iflink") == own
        }
        guard let found else {
            return .warn(
                subject, "the other end of \(interface) is in another namespace: does it fill in checksums?",
                "there: ethtool -K NAME tx off tso off gso off")
        }
        let left = (machine.calls.offloads(found) ?? []).intersection(["tx", "tso", "gso"])
        guard !left.isEmpty else { return nil }
        return .warn(
            subject,
            "\(found), the other end of \(interface), leaves checksums and segments to a device that is none: "
                + "its TCP and UDP packets are broken", "ethtool -K \(found) tx off tso off gso off")
    }

    // MARK: Privileges

    var capabilities: Finding {
        var needed: [Privileges.Capability] = []
        for port in site?.topology.ports ?? [] {
            if Machine.interface(of: port.device) != nil { needed += [.netRaw, .netAdmin] }
            if port.device.hasPrefix("net_tap") { needed.append(.netAdmin) }
        }
        let wanted = site == nil ? [Privileges.Capability.netRaw, .netAdmin] : needed
        let missing = Privileges.Capability.allCases.filter { wanted.contains($0) && !privileges.held.contains($0) }
        guard missing.isEmpty else {
            let names = missing.map(\.name).joined(separator: ", ")
            let remedy =
                "start it by systemd (AmbientCapabilities), with sudo, or: setcap "
                + "cap_net_raw,cap_net_admin,cap_ipc_lock,cap_sys_nice+ep $(command -v vpn-gw)"
            return site == nil
                ? .warn("privileges", "without \(names), no port over a kernel interface works", remedy)
                : .fail("privileges", "this process lacks \(names)", remedy)
        }
        guard privileges.held.contains(.sysNice) else {
            return .warn(
                "privileges", "without CAP_SYS_NICE the thread that reserves sequence numbers takes its turn like all",
                "start it by systemd (AmbientCapabilities)")
        }
        return .ok("privileges", "all that are needed")
    }
}
