import DataPlane
import IPsec
import Testing

@testable import Gateway

@Suite("Memory that a site needs")
struct MemorySizingTests {
    private func site(ports: Int = 2, workers: Int = 1, mtu: Int = 1500) -> Site {
        let ports = (0..<ports).map { index in
            Topology.Port(
                name: "p\(index)", role: .protected, device: "net_null\(index)", addresses: [],
                mtuOctets: index == 0 ? mtu : 1500, localServices: true)
        }
        return Site(
            gateway: Site.Gateway(name: "a", stateDirectory: "/s", controlSocket: "/c", metricsAddress: "127.0.0.1:1"),
            dpdk: Site.DPDK(
                workerCores: Array(0..<workers), hugePages: false, memoryMiB: nil, ealArguments: []),
            topology: Topology(ports: ports, routes: [], neighbors: [], tunnels: [], policies: []))
    }

    @Test("one less than a power of two, and enough for every descriptor and every worker", arguments: 1...8, 1...16)
    func buffers(ports: Int, workers: Int) {
        let sizing = MemorySizing(site(ports: ports, workers: workers))
        let needed = 2 * ports * workers * 1024 + workers * (2048 + WorkerGroup.heldPackets)
        #expect(sizing.buffers.nonzeroBitCount == (sizing.buffers + 1).trailingZeroBitCount)
        #expect(sizing.buffers + 1 >= needed && (sizing.buffers == 4095 || (sizing.buffers + 1) / 2 < needed))
    }

    @Test(
        "room for the largest frame and its headers, in whole KiB and at least two",
        arguments: [(576, 2048), (1500, 2048), (2030, 2048), (2031, 3072), (9000, 9216), (9216, 10240)])
    func frames(mtu: Int, expected: Int) {
        #expect(MemorySizing(site(mtu: mtu)).frameOctets == expected)
    }

    @Test("memory holds the buffers and the tables, and grows with MTU and workers")
    func memory() {
        let small = MemorySizing(site()), jumbo = MemorySizing(site(mtu: 9000)), many = MemorySizing(site(workers: 8))
        for sizing in [small, jumbo, many] {
            // Each buffer has its descriptor, headroom and tail beside the frame; the route table takes 32 MiB.
            #expect(sizing.memoryMiB << 20 >= sizing.buffers * (sizing.frameOctets + 128 + 128 + 64) + 64 << 20)
        }
        #expect(small.memoryMiB < jumbo.memoryMiB && small.memoryMiB < many.memoryMiB)
        var crypto = site()
        crypto.dpdk.cryptoDevices = ["crypto_aesni_mb0"]
        #expect(small.memoryMiB < MemorySizing(crypto).memoryMiB && small.buffers <= MemorySizing(crypto).buffers)
    }
}
