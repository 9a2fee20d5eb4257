import DataPlane

/// How much memory a site's packets need.
struct MemorySizing {
    /// Packet buffers: all descriptors of all queues full, what workers hold, and their caches.
    let buffers: Int
    /// Room for the largest frame of any port: MTU, Ethernet header, one VLAN tag. In whole KiB and no less than two:
    /// the ring frames of net_af_packet have 2 KiB whatever the MTU, and NICs take the room in KiB, rounded down.
    let frameOctets: Int
    /// With the route tables (IPv4: 32 MiB), policies, SAs and DPDK's own.
    let memoryMiB: Int

    init(_ site: Site) {
        let workers = site.dpdk.workerCores.count
        buffers = MemorySizing.buffers(site, workers: workers)
        let power = buffers + 1
        let largest = (site.topology.ports.map(\.mtuOctets).max() ?? 1500) + 18
        frameOctets = max(2048, (largest + 1023) / 1024 * 1024)
        // Other tables are built while the present ones are in use.
        let octets =
            power * (frameOctets + 512) + site.topology.tunnels.count * 4096 + 2 * site.topology.routeTable6Octets
        memoryMiB = 128 + octets / (1 << 20) + MemorySizing.cryptoMiB(site)
    }

    /// Of the pool of so many workers.
    static func buffers(_ site: Site, workers: Int) -> Int {
        let queues = 2 * site.topology.ports.count * workers
        let crossing = site.dpdk.cryptoDevices.isEmpty ? 0 : WorkerGroup.crossingPackets
        let wanted = queues * 1024 + workers * (2048 + WorkerGroup.heldPackets + crossing)
        // A pool is cheapest with one less than a power of two.
        var power = 4096
        while power < wanted { power *= 2 }
        return power - 1
    }

    /// SAs that each crypto device has room for: those of the site, of the next one, and some.
    static func sessions(_ site: Site) -> Int {
        1024 + 4 * site.topology.tunnels.reduce(0) { $0 + $1.children.count }
    }

    /// Sessions, of up to 4 KiB with software drivers, and each worker's operations.
    private static func cryptoMiB(_ site: Site) -> Int {
        let operations = site.dpdk.workerCores.count * WorkerGroup.crossingPackets
        return site.dpdk.cryptoDevices.count * (4 + (sessions(site) * 4096 + operations * 1024) >> 20)
    }
}
