import Foundation
import Synchronization
import Testing

@testable import Gateway

/// A machine made of files in a directory of its own, which goes with it.
final class FakeMachine: Sendable {
    let root = NSTemporaryDirectory() + "vpn-gw-doctor-" + UUID().uuidString
    let offloads = Mutex<[String: Set<String>]>([:])
    let drivers = Mutex(["wan": "ixgbe"])

    /// One that lacks nothing for `goodSite`.
    init() throws {
        let flags = (ProcessorFeatures.baseline + ["aes", "pclmulqdq", "constant_tsc", "nonstop_tsc"]).joined(
            separator: " ")
        let clocks = "/sys/devices/system/clocksource/clocksource0"
        for (path, text) in [
            "/proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu \(flags)\n\nprocessor\t: 1\nflags\t\t:\n",
            "/proc/self/status": "Name:\tvpn-gw\nCapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-3\n",
            "/proc/self/limits": "Limit                     Soft Limit           Hard Limit           Units     \n"
                + "Max locked memory         65536                65536                bytes     \n",
            "/proc/self/mountinfo":
                "1 0 254:0 / / rw - ext4 /dev/vda rw\n2 1 0:5 / /var/lib/other rw - tmpfs tmpfs rw\n",
            "/proc/locks": "",
            "\(clocks)/current_clocksource": "tsc\n", "\(clocks)/available_clocksource": "tsc hpet\n",
            "/sys/devices/system/cpu/isolated": "1-2\n",
            "/sys/devices/system/cpu/cpu1/topology/thread_siblings_list": "1\n",
            "/sys/devices/system/cpu/cpu2/topology/thread_siblings_list": "2\n",
            "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages": "512\n",
            "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages": "400\n",
            "/sys/kernel/iommu_groups/7/type": "DMA\n",
            "/sys/module/vfio_pci/version": "1\n",
            "/sys/bus/pci/devices/0000:03:00.0/class": "0x020000\n",
            "/sys/class/net/wan/flags": "0x1003\n", "/sys/class/net/wan/carrier": "1\n",
            "/sys/class/net/wan/mtu": "1500\n", "/sys/class/net/wan/ifindex": "4\n",
            "/sys/class/net/wan/iflink": "4\n",
            "/dev/vfio/7": "", "/pmds/librte_net_af_packet.so.23": "", "/pmds/librte_bus_pci.so.23.0": "",
            "/var/lib/vpn-gw/lock": "",
        ] { try write(path, text) }
        try link("/sys/bus/pci/devices/0000:03:00.0/driver", "../../../../bus/pci/drivers/vfio-pci")
        try link("/sys/bus/pci/devices/0000:03:00.0/iommu_group", "../../../kernel/iommu_groups/7")
        try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: root + "/var/lib/vpn-gw")
    }

    deinit { try? FileManager.default.removeItem(atPath: root) }

    func write(_ path: String, _ text: String) throws {
        let file = URL(filePath: root + path)
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
    }

    func link(_ path: String, _ target: String) throws {
        try? FileManager.default.removeItem(atPath: root + path)
        try FileManager.default.createSymbolicLink(atPath: root + path, withDestinationPath: target)
    }

    /// A crypto device at 0000:3d:01.0.
    func addQAT(driver: String, vendor: String = "0x8086") throws {
        let directory = "/sys/bus/pci/devices/0000:3d:01.0"
        try write("\(directory)/vendor", "\(vendor)\n")
        try link("\(directory)/driver", "../../../../bus/pci/drivers/\(driver)")
        try link("\(directory)/iommu_group", "../../../kernel/iommu_groups/7")
    }

    func remove(_ path: String) throws { try FileManager.default.removeItem(atPath: root + path) }

    /// The machine, whose user is this process's or `user`.
    func surroundings(user: UInt32? = nil, free: UInt64 = 1 << 40, synchronized: Bool? = true) -> Surroundings {
        Surroundings(
            root: root,
            calls: Surroundings.Calls(
                user: user ?? 0, dpdkVersion: "DPDK 22.11.9", driverDirectory: "/pmds", cryptoVersion: "1.3.0",
                freeOctets: { _ in free }, isClockSynchronized: { synchronized },
                offloads: { [self] name in offloads.withLock { $0[name, default: []] } },
                driver: { [self] name in drivers.withLock { $0[name] } }))
    }
}

@Suite("vpn-gw doctor")
struct DoctorTests {
    private func site(_ replacements: [String: String] = [:]) throws -> Site {
        var text = goodSite
        for (old, new) in replacements {
            #expect(text.contains(old))
            text = text.replacing(old, with: new)
        }
        return try readSite(text).site
    }

    private func findings(
        _ machine: FakeMachine, _ site: Site?, user: UInt32 = 0, free: UInt64 = 1 << 40, synchronized: Bool? = true
    ) -> [Finding] {
        let surroundings = machine.surroundings(user: user, free: free, synchronized: synchronized)
        return Doctor(surroundings, site: site).report.findings
    }

    @Test("a machine that lacks nothing is ok, for a site and without one, and looking changes nothing")
    func nothing() throws {
        let machine = try FakeMachine()
        func names() -> [String] {
            (FileManager.default.enumerator(atPath: machine.root)?.allObjects as? [String] ?? []).sorted()
        }
        let before = names()
        for site in [try site(), nil] {
            let report = Doctor(machine.surroundings(), site: site).report
            #expect(report.findings.allSatisfy { $0.level == .ok && $0.remedy == nil }, "\(report.text)")
            #expect(report.exitCode == .ok)
        }
        #expect(before.count > 50 && names() == before)
    }

    /// A change to the machine, and what is to be said of it.
    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var level: Finding.Level
        /// In the finding's text and in its remedy.
        var words: String, remedy: String
        var site: [String: String] = [:]
        var user: UInt32 = 0, free: UInt64 = 1 << 40, synchronized: Bool? = true
        var change: @Sendable (FakeMachine) throws -> Void = { _ in }
    }

    /// What gives the good site a crypto device.
    static func crypto(_ device: String) -> [String: String] {
        ["memory_mib = 512": "memory_mib = 512\ncrypto_devices = [\"\(device)\"]"]
    }

    static let cases = [
        Case(testDescription: "no AVX2", level: .fail, words: "lacks avx2: vpn-gw is built for x86-64-v3", remedy: "") {
            try $0.write(
                "/proc/cpuinfo", "flags : " + ProcessorFeatures.baseline.filter { $0 != "avx2" }.joined(separator: " "))
        },
        Case(testDescription: "no AES", level: .fail, words: "no AES instructions", remedy: "firmware") {
            try $0.write("/proc/cpuinfo", "flags : " + ProcessorFeatures.baseline.joined(separator: " "))
        },
        Case(testDescription: "TSC that varies", level: .warn, words: "may change its pace", remedy: "firmware") {
            try $0.write("/proc/cpuinfo", "flags : aes pclmulqdq " + ProcessorFeatures.baseline.joined(separator: " "))
        },
        Case(testDescription: "HPET", level: .warn, words: "clock is hpet", remedy: "echo tsc > /sys") {
            try $0.write("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet")
        },
        Case(
            testDescription: "no time", level: .warn, words: "follows no other", remedy: "timedatectl",
            synchronized: false),
        Case(testDescription: "no hugepages", level: .fail, words: "512 MiB are needed", remedy: "vm.nr_hugepages=719")
        {
            // 150 MiB are free of 1074: 512 more than what is taken.
            try $0.write("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "75")
            try $0.write("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "537")
        },
        Case(
            testDescription: "no hugepages, and the kernel's are of 1 GiB", level: .fail, words: "512 MiB are needed",
            remedy: "vm.nr_hugepages=1 "
        ) {
            try $0.write("/proc/meminfo", "MemTotal:  1 kB\nHugepagesize:    1048576 kB\n")
            try $0.write("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "75")
            try $0.write("/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages", "0")
        },
        Case(testDescription: "vfio-pci", level: .fail, words: "vfio-pci is not loaded", remedy: "modprobe vfio-pci") {
            try $0.remove("/sys/module/vfio_pci")
        },
        Case(testDescription: "IOMMU", level: .fail, words: "no IOMMU", remedy: "intel_iommu=on") {
            try $0.remove("/sys/kernel/iommu_groups")
        },
        Case(testDescription: "unsafe vfio", level: .warn, words: "without an IOMMU", remedy: "intel_iommu=on") {
            try $0.remove("/sys/kernel/iommu_groups")
            try $0.write("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n")
        },
        Case(testDescription: "no device", level: .fail, words: "no PCI device 0000:03:00.0", remedy: "lspci -D") {
            try $0.remove("/sys/bus/pci/devices/0000:03:00.0")
        },
        Case(
            testDescription: "the kernel's device", level: .fail, words: "is the kernel's, by ixgbe (eth7",
            remedy: "dpdk-devbind.py --bind=vfio-pci 0000:03:00.0"
        ) {
            try $0.link("/sys/bus/pci/devices/0000:03:00.0/driver", "../drivers/ixgbe")
            try $0.write("/sys/bus/pci/devices/0000:03:00.0/net/eth7/mtu", "1500")
        },
        Case(testDescription: "no interface", level: .fail, words: "no network interface wan", remedy: "ip link") {
            try $0.remove("/sys/class/net/wan")
        },
        Case(testDescription: "down", level: .fail, words: "wan is down", remedy: "ip link set wan up") {
            try $0.write("/sys/class/net/wan/flags", "0x1002")
        },
        Case(testDescription: "no link", level: .warn, words: "wan has no link", remedy: "") {
            try $0.write("/sys/class/net/wan/carrier", "0")
        },
        Case(testDescription: "MTU", level: .fail, words: "packets of 1280 octets", remedy: "ip link set wan mtu 1500")
        {
            try $0.write("/sys/class/net/wan/mtu", "1280")
        },
        Case(
            testDescription: "GRO", level: .warn, words: "merges packets (gro, lro)",
            remedy: "ethtool -K wan gro off lro off"
        ) {
            $0.offloads.withLock { $0["wan"] = ["gro", "lro", "tx"] }
        },
        Case(
            testDescription: "veth", level: .warn, words: "inside, the other end of wan",
            remedy: "ethtool -K inside tx off"
        ) { machine in
            machine.drivers.withLock { $0["wan"] = "veth" }
            try machine.write("/sys/class/net/wan/iflink", "9")
            try machine.write("/sys/class/net/inside/ifindex", "9")
            try machine.write("/sys/class/net/inside/iflink", "4")
            machine.offloads.withLock { $0["inside"] = ["tx"] }
        },
        Case(
            testDescription: "veth elsewhere", level: .warn, words: "another namespace",
            remedy: "ethtool -K NAME tx off"
        ) {
            // Its other end has the same number where it is.
            $0.drivers.withLock { $0["wan"] = "veth" }
        },
        Case(
            testDescription: "no driver", level: .fail, words: "driver net_af_packet",
            remedy: "'librte-net-af-packet[0-9]*'"
        ) {
            try $0.remove("/pmds/librte_net_af_packet.so.23")
        },
        Case(testDescription: "another DPDK", level: .fail, words: "drivers are not there", remedy: "apt-get install") {
            try $0.remove("/pmds")
        },
        Case(
            testDescription: "no crypto driver", level: .fail, words: "driver crypto_ipsec_mb is not installed",
            remedy: "apt-get install 'librte-crypto-ipsec-mb[0-9]*'", site: crypto("crypto_aesni_mb0")),
        Case(
            testDescription: "no crypto driver of its own name", level: .fail,
            words: "driver crypto_openssl is not installed",
            remedy: "apt-get install 'librte-crypto-openssl[0-9]*'", site: crypto("crypto_openssl0,x=1")),
        Case(
            testDescription: "no crypto device at all", level: .fail, words: "no crypto driver of DPDK's is called so",
            remedy: "crypto_devices", site: crypto("aesni_mb0")),
        Case(
            testDescription: "crypto in software", level: .warn, words: "crypto_ipsec_mb is software",
            remedy: "offload = \"off\"", site: crypto("crypto_aesni_mb_pmd_1")
        ) { try $0.write("/pmds/librte_crypto_ipsec_mb.so.23", "") },
        Case(
            testDescription: "crypto without AES-GCM", level: .fail, words: "no AES-128-GCM",
            remedy: "crypto_aesni_mb0", site: crypto("crypto_null0")
        ) { try $0.write("/pmds/librte_crypto_null.so.23", "") },
        Case(
            testDescription: "no QAT", level: .fail, words: "no PCI device 0000:3d:01.0",
            remedy: "lspci -D -d ::0b40", site: crypto("0000:3d:01.0")),
        Case(
            testDescription: "the kernel's QAT", level: .fail, words: "is the kernel's, by 4xxxvf",
            remedy: "dpdk-devbind.py --bind=vfio-pci 0000:3d:01.0", site: crypto("0000:3d:01.0")
        ) { try $0.addQAT(driver: "4xxxvf") },
        Case(
            testDescription: "no QAT driver", level: .fail, words: "driver common_qat is not installed",
            remedy: "'librte-common-qat[0-9]*'", site: crypto("0000:3d:01.0")
        ) { try $0.addQAT(driver: "vfio-pci") },
        Case(
            testDescription: "a stranger's crypto device", level: .warn, words: "of vendor 0x4242",
            remedy: "vpn-gw caps", site: crypto("0000:3d:01.0")
        ) { try $0.addQAT(driver: "vfio-pci", vendor: "0x4242") },
        Case(testDescription: "capabilities", level: .fail, words: "lacks CAP_NET_ADMIN, CAP_NET_RAW", remedy: "setcap")
        {
            try $0.write("/proc/self/status", "CapEff:\t0000000000804000\nCpus_allowed_list:\t0-3\n")
        },
        Case(testDescription: "locked memory", level: .fail, words: "may lock 0 MiB", remedy: "LimitMEMLOCK", user: 12)
        {
            try $0.write("/proc/self/status", "CapEff:\t0000000000803000\nCpus_allowed_list:\t0-3\n")
        },
        Case(testDescription: "no core", level: .fail, words: "may use 0, 1", remedy: "worker_cores = [1]") {
            try $0.write("/proc/self/status", "CapEff:\tffffffffff\nCpus_allowed_list:\t0-1\n")
        },
        Case(
            testDescription: "isolation", level: .warn, words: "others run there",
            remedy: "isolcpus=managed_irq,domain,2"
        ) {
            try $0.write("/sys/devices/system/cpu/isolated", "1\n")
        },
        Case(testDescription: "siblings", level: .warn, words: "same physical core as worker core 2", remedy: "lscpu") {
            try $0.write("/sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1-2\n")
        },
        Case(testDescription: "governor", level: .warn, words: "(powersave)", remedy: "cpupower -c 2 frequency-set") {
            try $0.write("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n")
            try $0.write("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave\n")
        },
        Case(
            testDescription: "NUMA memory", level: .warn, words: "node 1, which has no hugepages",
            remedy: "node1/hugepages"
        ) {
            try $0.write("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "0")
            try $0.write("/sys/bus/pci/devices/0000:03:00.0/numa_node", "1")
        },
        Case(
            testDescription: "NUMA cores", level: .warn, words: "worker core(s) 1, 2 are not",
            remedy: "worker_cores from 3"
        ) {
            try $0.write("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "9")
            try $0.write("/sys/devices/system/node/node1/cpulist", "3")
            try $0.write("/sys/bus/pci/devices/0000:03:00.0/numa_node", "1")
        },
        Case(
            testDescription: "open state", level: .warn, words: "open to others (mode 755)",
            remedy: "chmod 0700 /var/lib/vpn-gw"
        ) {
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: $0.root + "/var/lib/vpn-gw")
        },
        Case(
            testDescription: "somebody's state", level: .fail, words: "belongs to user", remedy: "chown -R",
            user: 999_999),
        Case(testDescription: "state in memory", level: .fail, words: "is in memory (tmpfs)", remedy: "on a disk") {
            try $0.write(
                "/proc/self/mountinfo", "1 0 1:0 / / rw - ext4 a rw\n2 1 0:5 / /var/lib rw shared:1 - tmpfs t rw\n")
        },
        Case(testDescription: "odd mounts", level: .fail, words: "is in memory (tmpfs)", remedy: "on a disk") {
            try $0.write("/proc/self/mountinfo", "1 0 1:0 - \n - \n2 1 0:5 / /var/lib rw - tmpfs t rw\n")
        },
        Case(testDescription: "state far away", level: .warn, words: "is on nfs4", remedy: "local disk") {
            try $0.write(
                "/proc/self/mountinfo", "1 0 1:0 / / rw - ext4 a rw\n2 1 0:5 / /var/lib/vpn-gw rw - nfs4 t rw\n")
        },
        Case(testDescription: "full disk", level: .fail, words: "the disk is full", remedy: "df -h", free: 1000),
        Case(testDescription: "little room", level: .warn, words: "9 MiB are free", remedy: "df -h", free: 10_000_000),
        Case(testDescription: "no parent", level: .fail, words: "nor is /var/lib", remedy: "install -d -m 0700") {
            try $0.remove("/var/lib")
        },
    ]

    @Test("says what is wrong, and what mends it", arguments: cases)
    func wrong(_ wrong: Case) throws {
        let machine = try FakeMachine()
        try wrong.change(machine)
        let found = findings(
            machine, try site(wrong.site), user: wrong.user, free: wrong.free, synchronized: wrong.synchronized)
        let finding = try #require(
            found.first { $0.text.contains(wrong.words) }, "\(found.filter { $0.level != .ok })")
        #expect(
            finding.level == wrong.level && (wrong.remedy.isEmpty || (finding.remedy ?? "").contains(wrong.remedy)),
            "\(finding)")
        let report = Doctor.Report(findings: found)
        if wrong.level == .fail {
            #expect(report.exitCode == .unavailable)
        } else {
            #expect(report.exitCode == .ok, "\(report.text)")
        }
    }

    @Test("a crypto device with its driver, bound, is ok")
    func coprocessor() throws {
        let machine = try FakeMachine()
        try machine.addQAT(driver: "vfio-pci")
        try machine.write("/pmds/librte_common_qat.so.23", "")
        let found = findings(machine, try site(DoctorTests.crypto("0000:3d:01.0")))
        #expect(found.allSatisfy { $0.level == .ok }, "\(found)")
        #expect(found.contains { $0.subject == "crypto 0000:3d:01.0" && $0.text == "0000:3d:01.0: vfio-pci" })
    }

    @Test("without a site only what no gateway can do without fails")
    func general() throws {
        let machine = try FakeMachine()
        for path in [
            "/sys/kernel/iommu_groups", "/sys/module/vfio_pci", "/sys/devices/system/node", "/sys/class/net",
            "/sys/devices/system/cpu",
        ] { try machine.remove(path) }
        let found = findings(machine, nil)
        #expect(found.allSatisfy { $0.level != .fail })
        #expect(found.count { $0.level == .warn } == 3, "\(found)")
        #expect(found.contains { $0.subject == "adapter" && $0.text.contains("0000:03:00.0: vfio-pci") })
    }

    @Test("a gateway that runs is named, and its hugepages are not missed")
    func running() throws {
        let machine = try FakeMachine()
        let lock = try #require(machine.surroundings().status("/var/lib/vpn-gw/lock"))
        try machine.write(
            "/proc/locks",
            "1: POSIX  ADVISORY  WRITE 7 fe:01:\(lock.inode) 0 EOF\n"
                + "2: FLOCK  ADVISORY  WRITE 4321 fe:01:\(lock.inode) 0 EOF\n")
        try machine.write("/proc/4321/comm", "vpn-gw\n")
        try machine.write("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "0\n")
        let found = findings(machine, try site())
        #expect(found.allSatisfy { $0.level == .ok }, "\(found)")
        #expect(found.contains { $0.text.hasPrefix("process 4321 (vpn-gw) runs") })
    }

    @Test("text has a line for each finding and its remedy below; JSON has the same")
    func forms() throws {
        let report = Doctor.Report(findings: [.ok("a", "fine"), .warn("long", "hm", "mend it"), .fail("b", "no")])
        #expect(
            report.text == """
                ok    a     fine
                warn  long  hm
                            -> mend it
                fail  b     no
                1 ok, 1 to look at, 1 to mend

                """)
        let object = try #require(
            JSONSerialization.jsonObject(with: Data(report.json.utf8)) as? [String: [[String: String]]])
        #expect(object["findings"]?.map { $0["level"] } == ["ok", "warn", "fail"])
        #expect(object["findings"]?[1]["remedy"] == "mend it" && object["findings"]?[0]["remedy"] == nil)
    }

    @Test("lists of processors as the kernel writes them")
    func lists() {
        #expect(Surroundings.numbers("0-2,5") == [0, 1, 2, 5])
        #expect(Surroundings.numbers("") == [] && Surroundings.numbers("x,3-1,4") == [4])
        #expect(Surroundings.numbers("0-99999999") == [])
    }

    @Test("this machine can be looked at")
    func real() {
        let report = Doctor.examine(site: nil)
        #expect(report.findings.contains { $0.subject == "dpdk" && $0.text.hasPrefix("DPDK 22.11") })
        #expect(report.findings.contains { $0.subject == "processor" && $0.level == .ok })
    }
}
