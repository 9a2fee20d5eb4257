// swift-tools-version: 6.2
import PackageDescription

// DPDK's headers need their include paths and an instruction set (rte_memcpy and friends use SSE 4) on every target
// that sees them: SwiftPM cannot read Debian's libdpdk.pc, and a C target's flags do not reach its dependents. The
// default x86-64-v3 runs on every server since 2013; libipsec-mb picks AVX-512 by itself at run time.
let march = Context.environment["VPNGW_MARCH"] ?? "x86-64-v3"
let dpdkFlags = ["-I/usr/include/dpdk", "-I/usr/include/x86_64-linux-gnu/dpdk", "-march=\(march)"]

let cSettings: [CSetting] = [
    .unsafeFlags(dpdkFlags + ["-Wall", "-Werror"]),
    .unsafeFlags(["-O3"], .when(configuration: .release)),
]
let strict: [SwiftSetting] = [
    .strictMemorySafety(), .treatAllWarnings(as: .error), .enableUpcomingFeature("ExistentialAny"),
]
let overDPDK = strict + [.unsafeFlags(dpdkFlags.flatMap { ["-Xcc", $0] })]
let dpdkLibraries = [
    "rte_eal", "rte_mempool", "rte_mbuf", "rte_ethdev", "rte_ring", "rte_net_ring", "rte_acl", "rte_fib",
    "rte_bus_vdev", "rte_cryptodev", "rte_security",
]

// The model's loop is never worth debugging at the price of its speed.
let modelSettings: [CSetting] = [
    .unsafeFlags(["-Wall", "-Wextra", "-Werror", "-O2", "-fvisibility=hidden", "-march=\(march)"])
]
// SwiftPM links Swift's runtime to C as well, and what is preloaded must not bring it into any program.
let withoutSwift: [LinkerSetting] = [.unsafeFlags(["-nostartfiles", "-static-stdlib"])]

let package = Package(
    name: "vpn-gw",
    products: [
        .executable(name: "vpn-gw", targets: ["vpn-gw"]),
        .executable(name: "ixgbe-model", targets: ["IxgbeModel"]),
        .library(name: "IxgbeTrap", type: .dynamic, targets: ["IxgbeTrap"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .target(
            name: "CDPDK", cSettings: cSettings, linkerSettings: dpdkLibraries.map { .linkedLibrary($0) }),
        // Tests are of the code that ships: what it leaves on the stack is wiped by a known size.
        .target(
            name: "CIPsecMB", cSettings: cSettings + [.unsafeFlags(["-O2"], .when(configuration: .debug))],
            linkerSettings: [.linkedLibrary("IPSec_MB")]),
        .target(name: "CPcap", cSettings: cSettings, linkerSettings: [.linkedLibrary("pcap")]),
        .target(name: "IPsec", swiftSettings: strict),
        .target(name: "Wire", swiftSettings: strict),
        .target(name: "ESP", dependencies: ["Wire", "IPsec", "CIPsecMB"], swiftSettings: overDPDK),
        .target(name: "DataPlane", dependencies: ["CDPDK", "ESP", "Wire", "IPsec"], swiftSettings: overDPDK),
        .target(
            name: "SAStore", dependencies: ["IPsec", .product(name: "GRDB", package: "GRDB.swift")],
            swiftSettings: strict),
        .target(name: "Capture", dependencies: ["CPcap", "Wire"], swiftSettings: strict),
        .target(
            name: "Gateway",
            dependencies: [
                "SAStore", "DataPlane", "ESP", "Wire", "IPsec", "Capture", "TOMLKit",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ], swiftSettings: overDPDK),
        .executableTarget(
            name: "vpn-gw",
            dependencies: ["Gateway", .product(name: "ArgumentParser", package: "swift-argument-parser")],
            swiftSettings: overDPDK),

        // A NIC in software, for tests and demonstrations: its registers, what traps them in a program, its engine.
        .target(name: "IxgbeDevice", cSettings: modelSettings),
        .target(
            name: "IxgbeTrap", dependencies: ["IxgbeDevice"], cSettings: modelSettings, linkerSettings: withoutSwift),
        .executableTarget(
            name: "IxgbeModel", dependencies: ["IxgbeDevice"], cSettings: modelSettings,
            linkerSettings: withoutSwift + [.linkedLibrary("crypto")]),
        // A DPDK program for the tests of the model.
        .executableTarget(
            name: "ixgbe-probe", dependencies: ["CDPDK"], path: "Tests/IxgbeProbe", cSettings: cSettings,
            linkerSettings: [.linkedLibrary("rte_security"), .linkedLibrary("rte_net_ixgbe")]),

        // Seeded numbers for the tests of all targets.
        .target(name: "SeededRandom", path: "Tests/SeededRandom", swiftSettings: strict),

        .testTarget(name: "IPsecTests", dependencies: ["SeededRandom", "IPsec"], swiftSettings: strict),
        .testTarget(name: "WireTests", dependencies: ["SeededRandom", "Wire"], swiftSettings: strict),
        .testTarget(
            name: "ESPTests", dependencies: ["SeededRandom", "ESP", "Wire", "IPsec", "CIPsecMB"], exclude: ["Vectors"],
            swiftSettings: overDPDK),
        .testTarget(
            name: "DataPlaneTests", dependencies: ["SeededRandom", "DataPlane", "CDPDK", "ESP", "Wire", "IPsec"],
            swiftSettings: overDPDK),
        .testTarget(
            name: "SAStoreTests",
            dependencies: [
                "SeededRandom", "SAStore", "IPsec", "reservation-hammer", .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: strict),
        // Reserves without end until a test kills it.
        .executableTarget(
            name: "reservation-hammer", dependencies: ["SAStore", "IPsec"], path: "Tests/ReservationHammer",
            swiftSettings: strict),
        .testTarget(name: "CaptureTests", dependencies: ["SeededRandom", "Capture", "Wire"], swiftSettings: strict),
        .testTarget(
            name: "GatewayTests", dependencies: ["SeededRandom", "Gateway", "vpn-gw"], swiftSettings: overDPDK),
        // Looks at the repository's own text.
        .testTarget(name: "TidyTests", swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)
