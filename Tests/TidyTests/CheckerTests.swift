import Testing

/// Each rule is broken once here: a checker that finds nothing proves nothing.
@Suite("The rules' checkers")
struct CheckerTests {
    private func file(_ content: String, path: String = "Sources/Wire/Thing.swift") -> Text {
        Text(path: path, content)
    }

    @Test("comments and strings are no code")
    func code() {
        let text = file(
            """
            let url = "http://unsafe" // unsafe
            /// UnsafePointer
            let quote = "\\"unsafe\\"", next = unsafe
            let text = \"\"\"
                unsafe
                \"\"\"
            let shown = "\\(unsafe call(")")) unsafe \\\\" + "\\(1)unsafe"
            let last = 1
            """)
        #expect(Tidy.unsafeLines(text) == [3, 7])
        #expect(text.code.last?.text == "let last = 1")
    }

    @Test("lengths")
    func lengths() {
        let fits = String(repeating: "é", count: 120)
        #expect(Tidy.lengths(file(fits)) == [])
        #expect(Tidy.lengths(file("\n" + fits + "x")).first?.contains("Thing.swift:2: 121 columns") == true)
        #expect(Tidy.lengths(file(String(repeating: "\n", count: 450))) == [])
        #expect(Tidy.lengths(file(String(repeating: "\n", count: 451))).count == 1)
    }

    @Test("work that was put off")
    func putOff() {
        #expect(Tidy.putOff(file("// TO" + "DO: later\n# FIX" + "ME\n")).count == 2)
        #expect(Tidy.putOff(file("let method" + "TO" + "DOWN = 1")) == [])
    }

    @Test("imports")
    func imports() {
        let text = file(
            """
            import Wire
            @testable import ESP  // why
            import struct Foundation.Data
            public import IPsec
            // import Commented
            let important = "import Quoted"
            """)
        #expect(Tidy.imported(text).map(\.module) == ["Wire", "ESP", "Foundation", "IPsec"])
        #expect(Tidy.imports(text, allowed: ["Wire", "ESP", "IPsec"]).count == 1)
        #expect(Tidy.imports(text, allowed: ["Wire", "ESP", "IPsec", "Foundation"]) == [])
    }

    @Test(
        "unsafe code",
        arguments: [
            "let p: UnsafeMutableRawPointer", "unsafe call()", "bytes.unsafePointer(at: 0)",
            "nonisolated(unsafe) var x = 1", "struct S: @unchecked Sendable {}", "Unmanaged.passRetained(x)",
        ])
    func unsafety(line: String) {
        #expect(Tidy.unsafety(file(line), isAllowed: false).count == 1)
        #expect(Tidy.unsafety(file(line), isAllowed: true) == [])
    }

    @Test("a listed file that is safe is taken off the list")
    func staleList() {
        #expect(Tidy.unsafety(file("let safe = 1"), isAllowed: true).count == 1)
        #expect(Tidy.unsafety(file("@safe struct S {}"), isAllowed: false) == [])
    }

    @Test("public declarations without words")
    func undocumented() {
        let text = file(
            """
            /// Said.
            @inlinable
            @inline(__always)
            public func said() {}
            public func unsaid() {}
            @safe public struct Unsaid {
                // A comment is no documentation.
                public internal(set) var field = 0
                var hidden = 0
            }
            public extension Int {}
            /// One for two.
            public static let a = 1, b = 2
            """)
        #expect(Tidy.undocumented(text).map { $0.split(separator: ":")[1] } == ["5", "6", "8"])
    }

    @Test("files named by something else")
    func misnamed() {
        #expect(Tidy.misnamed(file("struct Thing {}")) == [])
        #expect(Tidy.misnamed(file("extension Thing: Sendable {}", path: "Sources/Wire/Thing+Text.swift")) == [])
        #expect(Tidy.misnamed(file("func thing() {}")) == [])
        #expect(Tidy.misnamed(file("struct Things {}\n// struct Thing")).count == 1)
    }

    @Test("tests that start DPDK")
    func environments() {
        let path = "Tests/GatewayTests/A.swift"
        for line in ["try Environment.start(x)", "var r = try Replay(site)", "Replay.run(a)"] {
            #expect(Tidy.environments(file(line, path: path)).count == 1, "\(line)")
        }
        for line in ["BenchReplay(1)", "let Replay = 1", "// Replay(1)", "ReplayOptions()", "TestEnvironment.start()"] {
            #expect(Tidy.environments(file(line, path: path)) == [], "\(line)")
        }
    }

    @Test("dependencies of a manifest")
    func dependencies() {
        let manifest = Text(
            path: "Package.swift",
            """
            targets: [
                .target(name: "A", cSettings: cSettings, linkerSettings: x.map { .linkedLibrary($0) }),
                .target(
                    name: "B", dependencies: ["A", .product(name: "GRDB", package: "GRDB.swift")], swiftSettings: s),
                .executableTarget(name: "C", dependencies: [
                    "B",
                    .product(name: "Logging", package: "swift-log"), "A",
                ]),
                .testTarget(name: "BTests", dependencies: ["B"]),
            ]
            """)
        #expect(Tidy.dependencies(of: "A", in: manifest) == [])
        #expect(Tidy.dependencies(of: "B", in: manifest) == ["A", "GRDB"])
        #expect(Tidy.dependencies(of: "C", in: manifest) == ["A", "B", "Logging"])
        #expect(Tidy.dependencies(of: "D", in: manifest) == nil)
    }
}
