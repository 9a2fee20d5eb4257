import DataPlane

/// Hugepages, on which NUMA node, and what may be locked.
extension Doctor {
    /// Hugepages of one node.
    struct Node: Sendable {
        /// Its number.
        var number: Int
        var totalKiB = 0, freeKiB = 0
    }

    private static func pages(below directory: String, _ machine: Surroundings) -> (total: Int, free: Int) {
        var sum = (total: 0, free: 0)
        for name in machine.list(directory) {
            guard name.hasPrefix("hugepages-"), let size = Int(name.dropFirst(10).prefix { $0.isNumber }) else {
                continue
            }
            sum.total += size * (machine.number("\(directory)/\(name)/nr_hugepages") ?? 0)
            sum.free += size * (machine.number("\(directory)/\(name)/free_hugepages") ?? 0)
        }
        return sum
    }

    /// The machine's nodes; one where the kernel knows none.
    var memory: [Node] {
        let directory = "/sys/devices/system/node"
        let nodes = machine.list(directory).compactMap { name -> Node? in
            guard name.hasPrefix("node"), let number = Int(name.dropFirst(4)) else { return nil }
            let pages = Doctor.pages(below: "\(directory)/\(name)/hugepages", machine)
            return Node(number: number, totalKiB: pages.total, freeKiB: pages.free)
        }
        guard nodes.isEmpty else { return nodes }
        let pages = Doctor.pages(below: "/sys/kernel/mm/hugepages", machine)
        return [Node(number: 0, totalKiB: pages.total, freeKiB: pages.free)]
    }

    /// What the site takes of memory.
    private var neededMiB: Int? { site.map { $0.dpdk.memoryMiB ?? MemorySizing($0).memoryMiB } }

    var hugePages: Finding {
        let nodes = memory
        let told = nodes.map { "node \($0.number) has \($0.freeKiB / 1024) of \($0.totalKiB / 1024) MiB free" }
        let text = told.joined(separator: ", ")
        guard let site, let needed = neededMiB else {
            return nodes.contains { $0.totalKiB > 0 }
                ? .ok("hugepages", text)
                : .warn(
                    "hugepages", "there are none: sites with huge_pages = true need them",
                    "sysctl -w vm.nr_hugepages=\(pageCount(withFurther: 1024))")
        }
        guard site.dpdk.hugePages else {
            return .ok("hugepages", "not needed (huge_pages = false); \(text)")
        }
        // A gateway that runs has taken its own already.
        let available = nodes.map { stateHolder == nil ? $0.freeKiB : $0.totalKiB }.reduce(0, +) / 1024
        guard available >= needed else {
            let more = pageCount(withFurther: needed - available)
            return .fail(
                "hugepages", "\(needed) MiB are needed, \(text)",
                "sysctl -w vm.nr_hugepages=\(more) && echo vm.nr_hugepages=\(more) > /etc/sysctl.d/90-vpn-gw.conf")
        }
        return .ok("hugepages", "\(needed) MiB are needed, \(text)")
    }

    /// What vm.nr_hugepages must be for so many MiB more: it counts pages of the size that the kernel was started with.
    private func pageCount(withFurther wantedMiB: Int) -> Int {
        let line = (machine.text("/proc/meminfo") ?? "").split(separator: "\n").first { $0.hasPrefix("Hugepagesize:") }
        let sizeKiB = max(1, line.flatMap { $0.split(separator: " ").dropFirst().first }.flatMap { Int($0) } ?? 2048)
        let name = "hugepages/hugepages-\(sizeKiB)kB/nr_hugepages"
        let nodes = machine.list("/sys/devices/system/node").filter { $0.hasPrefix("node") }
        let counts = nodes.compactMap { machine.number("/sys/devices/system/node/\($0)/\(name)") }
        let there = counts.isEmpty ? machine.number("/sys/kernel/mm/\(name)") ?? 0 : counts.reduce(0, +)
        return there + wantedMiB * 1024 / sizeKiB + 1
    }

    /// Whether each port's device has memory and workers on its own node.
    var nodes: [Finding] {
        guard let site, site.dpdk.hugePages else { return [] }
        let nodes = memory
        guard nodes.count > 1 else { return [] }
        return site.topology.ports.compactMap { port -> Finding? in
            guard let address = Doctor.address(of: port.device),
                let number = machine.number("/sys/bus/pci/devices/\(address)/numa_node"), number >= 0
            else { return nil }
            if let node = nodes.first(where: { $0.number == number }), node.totalKiB == 0 {
                let file = "/sys/devices/system/node/node\(number)/hugepages/hugepages-2048kB/nr_hugepages"
                return .warn(
                    "port \(port.name)", "its device is on node \(number), which has no hugepages",
                    "echo \((neededMiB ?? 512) / 2 + 1) > \(file)")
            }
            let local = Set(
                Surroundings.numbers(machine.text("/sys/devices/system/node/node\(number)/cpulist") ?? ""))
            let far = site.dpdk.workerCores.filter { !local.contains($0) }
            guard !far.isEmpty, !local.isEmpty else { return nil }
            return .warn(
                "port \(port.name)",
                "its device is on node \(number), worker core(s) "
                    + "\(far.map(String.init).joined(separator: ", ")) are not",
                "worker_cores from \(local.sorted().prefix(8).map(String.init).joined(separator: ", ")) in [dpdk]")
        }
    }

    /// A device that reads and writes memory itself wants that memory locked.
    var lockedMemory: Finding? {
        guard let limit = privileges.lockableOctets, !privileges.held.contains(.ipcLock), machine.calls.user != 0 else {
            return nil
        }
        let remedy = "ulimit -l unlimited; in a unit: LimitMEMLOCK=infinity"
        guard let site, let needed = neededMiB else {
            return limit >= 512 << 20
                ? nil : .warn("locked memory", "this process may lock \(limit >> 20) MiB", remedy)
        }
        let isNeeded = site.topology.ports.contains {
            Doctor.address(of: $0.device) != nil || $0.device.hasPrefix("net_af_")
        }
        guard isNeeded, limit < UInt64(needed) << 20 else { return nil }
        return .fail(
            "locked memory", "this process may lock \(limit >> 20) MiB, its ports may want \(needed) MiB", remedy)
    }
}
