import Testing

@testable import DataPlane

@Suite("EAL's command line")
struct EnvironmentSettingsTests {
    private func settings(
        cores: [Int] = [], hugePages: Bool = false, devices: [String] = [], extra: [String] = []
    ) -> [String] {
        Environment.Settings(
            workerCores: cores, hugePages: hugePages, memoryMiB: 300, devices: devices, extraArguments: extra
        ).arguments
    }

    private func values(of option: String, in arguments: [String]) -> [String] {
        arguments.indices.dropLast().filter { arguments[$0] == option }.map { arguments[$0 + 1] }
    }

    @Test("each worker is pinned to its core, and the main lcore floats over all")
    func lcores() throws {
        let arguments = settings(cores: [3, 1])
        let lcores = try #require(values(of: "--lcores", in: arguments).first)
        #expect(lcores.hasSuffix("),3@3,1@1") && lcores.hasPrefix("127@("))
        let everywhere = Environment.processors.map(String.init).joined(separator: ",")
        #expect(lcores == "127@(\(everywhere)),3@3,1@1")
        #expect(values(of: "--main-lcore", in: arguments) == ["127"])
        #expect(Environment.highestWorkerCore < 127)
    }

    @Test("memory is in MiB, and leaves nothing on a file system")
    func memory() {
        let huge = settings(hugePages: true), ordinary = settings()
        #expect(values(of: "-m", in: huge) == ["300"] && values(of: "-m", in: ordinary) == ["300"])
        #expect(huge.contains("--in-memory") && !huge.contains("--no-huge"))
        #expect(ordinary.contains("--no-huge") && ordinary.contains("--no-shconf"))
    }

    @Test("PCI devices are allowed one by one, and none means none; others are vdevs; what is passed through is last")
    func devices() {
        let none = settings(devices: ["net_null0,copy=1"])
        #expect(none.contains("--no-pci") && values(of: "--vdev", in: none) == ["net_null0,copy=1"])
        let both = settings(
            devices: ["0000:03:00.0", "net_tap0,iface=t0", "03:00.1,arg=1"], extra: ["--log-level", "8"])
        #expect(!both.contains("--no-pci") && values(of: "-a", in: both) == ["0000:03:00.0", "03:00.1,arg=1"])
        #expect(values(of: "--vdev", in: both) == ["net_tap0,iface=t0"])
        #expect(Array(both.suffix(2)) == ["--log-level", "8"] && both.first == "vpn-gw")
    }

    @Test(
        "a PCI address has two or three parts of hexadecimal digits and a function",
        arguments: [
            ("0000:03:00.0", true), ("03:00.0", true), ("000A:fF:1f.7", true), ("0000:03:00.0,mprq_en=1", true),
            ("net_af_packet0,iface=lan0", false), ("net_ring0", false), ("", false), (",", false),
            ("0000:03:00", false),
            ("1:2:3:4.0", false), ("eth0:03:00.0", false), (":", false), ("net_tap0,mac=02:00:00:00:00.1", false),
        ])
    func pci(device: String, expected: Bool) {
        #expect(Environment.Settings.isPCI(device) == expected)
    }

    @Test(
        "DPDK names ports by their whole address, or by the vdev's name",
        arguments: [
            ("0000:03:00.0", "0000:03:00.0"), ("03:00.0", "0000:03:00.0"), ("03:00.1,x=1", "0000:03:00.1"),
            ("net_af_packet0,iface=lan0,qpairs=2", "net_af_packet0"), ("net_null7", "net_null7"), ("", ""),
        ])
    func portName(device: String, expected: String) {
        #expect(Environment.Settings.portName(device) == expected)
    }
}
