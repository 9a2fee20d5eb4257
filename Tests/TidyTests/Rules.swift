/// What this repository allows, and why.
enum Rules {
    /// What the files of a target may import: its dependencies in Package.swift, and of the system what stands here.
    /// Foundation is the control plane's alone; Wire and IPsec stand on the standard library.
    static let system: [String: Set<String>] = [
        "Wire": ["Synchronization"],
        "IPsec": ["Synchronization"],
        "ESP": ["Synchronization"],
        "DataPlane": ["Synchronization", "Glibc"],
        // GRDB brings GRDBSQLite, SQLite's own calls.
        "SAStore": ["Glibc", "Synchronization", "GRDBSQLite"],
        "Capture": ["Glibc"],
        "Gateway": ["Foundation", "Glibc", "Synchronization"],
        "vpn-gw": ["Foundation"],
    ]

    /// The architecture: which room a room may look into. Package.swift says the same or this fails.
    static let dependencies: [String: Set<String>] = [
        "Wire": [],
        "IPsec": [],
        "ESP": ["Wire", "IPsec", "CIPsecMB"],
        "DataPlane": ["CDPDK", "ESP", "Wire", "IPsec"],
        "SAStore": ["IPsec", "GRDB"],
        "Capture": ["CPcap", "Wire"],
        "Gateway": [
            "SAStore", "DataPlane", "ESP", "Wire", "IPsec", "Capture", "TOMLKit", "Logging", "NIOCore", "NIOHTTP1",
            "NIOPosix", "ServiceLifecycle", "UnixSignals",
        ],
        "vpn-gw": ["Gateway", "ArgumentParser"],
        "CDPDK": [], "CIPsecMB": [], "CPcap": [],
        // C only; nothing of the gateway's knows of them.
        "IxgbeDevice": [], "IxgbeTrap": ["IxgbeDevice"], "IxgbeModel": ["IxgbeDevice"],
    ]

    private static let worker = "hands DPDK the addresses of the worker's own arrays"
    private static let burst = "packets and SAs by address, for the burst only"
    private static let association = "holds the address of an expanded key, which outlives it"

    /// Files that may hold unsafe code, with the reason for each.
    static let unsafeFiles: [String: String] = [
        "Wire/PacketBytes.swift": "the one place where packet bytes are touched through a pointer",

        "ESP/AssociationReference.swift": "SAs at addresses of their own, so that no reference is counted for a packet",
        "DataPlane/NoticeRing.swift": "a ring between two threads, which two counts keep apart",
        "ESP/AttentionMap.swift": "bits that workers set without counting references to them",
        "ESP/CryptoJob.swift": "what libipsec-mb takes: addresses in packets",
        "ESP/CryptoJob+General.swift": "addresses in packets, for a job",
        "ESP/CryptoLibrary.swift": "libipsec-mb's manager",
        "ESP/InboundBurst.swift": burst,
        "ESP/InboundBurst+AuthenticationHeader.swift": burst,
        "ESP/InboundBurst+General.swift": burst,
        "ESP/InboundSecurityAssociation.swift": association,
        "ESP/KeyArena.swift": "keys outside of the Swift heap, wiped",
        "ESP/KeyFingerprint.swift": "hashes a key where it lies",
        "ESP/CryptoVersion.swift": "a string of libipsec-mb's",
        "ESP/FallbackCounters.swift": "counters that other threads read, in memory of their own",
        "ESP/KeyMaterial+Device.swift": "the address of a key, for a NIC's driver",
        "ESP/KeyMaterial+Export.swift": "the text of a key, for who asks for it",
        "ESP/KeyMaterial.swift": "keys outside of the Swift heap, wiped",
        "ESP/OutboundBurst.swift": burst,
        "ESP/OutboundBurst+AuthenticationHeader.swift": burst,
        "ESP/OutboundBurst+General.swift": burst,
        "ESP/OutboundSecurityAssociation.swift": association,
        "ESP/ReplayWindow.swift": "a ring of words in memory of its own",
        "ESP/SavedHeaders.swift": "room for headers in memory of its own",
        "ESP/SecretSlabs.swift": "memory for keys, out of core dumps and wiped",
        "ESP/SoftwareCrypto.swift": "calls libipsec-mb",

        "DataPlane/DPDKVersion.swift": "a string of DPDK's",
        "DataPlane/Environment.swift": "EAL's command line",
        "DataPlane/FixedArray.swift": "the worker's arrays: memory of their own, bounds checked",
        "DataPlane/Mbuf.swift": "DPDK's packet buffers and lists of them",
        "DataPlane/PacketPool.swift": "DPDK's pools and rings",
        "DataPlane/PacketSlots.swift": "packets of a pass, and their keys' addresses for rte_acl",
        "DataPlane/PolicyLookup.swift": "gives rte_acl the addresses of keys",
        "DataPlane/PolicyPlan.swift": "makes rte_acl's rules",
        "DataPlane/PolicyTable.swift": "owns rte_acl by address, and counters that other threads read",
        "DataPlane/RingPort.swift": "makes a port from two rings",
        "DataPlane/ForwardingTables.swift": "says what it asserts of threads: nothing in it changes",
        "DataPlane/RouteTable.swift": "owns rte_fib by address",
        "DataPlane/TableCell.swift": "the address by which workers find tables that the cell keeps",
        "DataPlane/RoutePlan.swift": "makes rte_fib's table",
        "DataPlane/Offload/EngineSurvey.swift": "asks DPDK for a port's engine and driver",
        "DataPlane/Offload/IdleEngine.swift": "the address of an engine that does nothing",
        "DataPlane/Offload/EngineSelfTest.swift": "asks DPDK for the device's word on a buffer",
        "DataPlane/Offload/OffloadKeeper.swift": "says what it asserts of threads: one at a time",
        "DataPlane/Offload/SecurityCapability.swift": "C structs of what a driver offers",
        "DataPlane/Offload/SecurityEngine.swift": "owns a driver's sessions by address",
        "DataPlane/Worker+Offload.swift": "hands a driver its session's address with a buffer",
        "DataPlane/StartedPort.swift": "C structs of a port's request and state",
        "DataPlane/Worker.swift": "keeps the addresses of tables that its reference keeps alive",
        "DataPlane/Worker+Adopt.swift": "keeps the addresses of tables that the cell keeps",
        "DataPlane/Worker+Outbound.swift": worker,
        "DataPlane/Worker+Outbound6.swift": worker,
        "DataPlane/Worker+Receive.swift": worker,
        "DataPlane/Worker+Receive6.swift": worker,
        "DataPlane/Worker+Transmit.swift": "a list of buffers for each port, in memory of their own",
        "DataPlane/WorkerBlock.swift": "counters that other threads read, on cache lines of their own",
        "DataPlane/WorkerGroup.swift": "passes a worker's plan through DPDK's launch call",

        "Capture/CaptureFiles.swift": "calls the C shim over libpcap",
        "Capture/CaptureMerge.swift": "readers that don't move, in memory of their own",
        "Capture/CaptureReader.swift": "calls the C shim over libpcap; a record's octets lie in its buffer",
        "Capture/CaptureWriter.swift": "calls the C shim over libpcap",
        "Capture/SystemReason.swift": "strerror",

        "SAStore/KeysSeen.swift": "opens a file by a system call",
        "SAStore/StateDirectory.swift": "opens, locks and syncs a directory by system calls",
        "SAStore/StateStore+Written.swift": "asks SQLite what it wrote",
        "SAStore/StoreError.swift": "strerror",

        "Gateway/Bench/BenchGateway.swift": "templates that packets are copied from",
        "Gateway/Bench/BenchSet.swift": "what can't be copied, side by side",
        "Gateway/Bench/BenchSite.swift": "random octets for a key",
        "Gateway/Bench/BenchStages.swift": "packet buffers without DPDK",
        "Gateway/Live/KeeperThread.swift": "sched_setscheduler",
        "Gateway/Configuration/FileReader.swift": "reads files by system calls, permissions looked at on the open file",
        "Gateway/Configuration/MaskedText.swift": "key text in memory that is wiped",
        "Gateway/Control/ChildProcess.swift": "starts a program by posix_spawn",
        "Gateway/Control/ControlClientError.swift": "strerror",
        "Gateway/Control/ControlConnection.swift": "sends and receives by system calls",
        "Gateway/Control/ControlScreen.swift": "asks the terminal for its size",
        "Gateway/Control/ControlSocket.swift": "a socket in the file system by system calls",
        "Gateway/Control/HTTPServer.swift": "the kernel's word on a peer, a socket option that NIO has no type for",
        "Gateway/Control/SecretOctets.swift": "wipes memory that holds keys",
        "Gateway/Control/UnixSocketAddress.swift": "an address as system calls take it",
        "Gateway/Doctor/Surroundings.swift": "stat, statvfs and ethtool's questions by system calls",
        "Gateway/Failure.swift": "strerror",
        "Gateway/FileOutput.swift": "a file by system calls, for its mode",
        "Gateway/Keys/KeyFiles.swift": "random octets and files by system calls",
        "Gateway/Live/EnvironmentThread.swift": "a list of jobs behind a condition",
        "Gateway/Live/Log.swift": "fstat of stderr",
        "Gateway/Live/Machine.swift": "if_nametoindex",
        "Gateway/Live/ServiceManager.swift": "a datagram to the service manager by system calls",
        "Gateway/Replay/CaptureOutputs.swift": "writers that don't move, in memory of their own",
    ]
}
