import Foundation
import Testing

@testable import Gateway

struct EnergyMeterTests {
    private let root = NSTemporaryDirectory() + "energy-\(UUID().uuidString)"

    private func counter(_ name: String, _ kind: String, _ microjoules: UInt64?, range: UInt64 = 1000) throws {
        let directory = "\(root)/\(name)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        try Data("\(kind)\n".utf8).write(to: URL(fileURLWithPath: "\(directory)/name"))
        try Data("\(range)\n".utf8).write(to: URL(fileURLWithPath: "\(directory)/max_energy_range_uj"))
        if let microjoules {
            try Data("\(microjoules)\n".utf8).write(to: URL(fileURLWithPath: "\(directory)/energy_uj"))
        }
    }

    @Test func packagesAreAddedAndNothingIsCountedTwice() throws {
        defer { try? FileManager.default.removeItem(atPath: root) }
        try counter("intel-rapl:0", "package-0", 100)
        try counter("intel-rapl:1", "package-1", 20)
        try counter("intel-rapl:0:0", "core", 90)
        try counter("intel-rapl:2", "psys", 500)
        try counter("intel-rapl-mmio:0", "package-0", 100)
        let meter = try #require(EnergyMeter(root: root))
        #expect(meter.read() == [100, 20])
        #expect(meter.joules(from: [100, 20], to: [300, 50]) == 230e-6)
    }

    @Test func aCounterThatBeganAgainLosesNothing() throws {
        defer { try? FileManager.default.removeItem(atPath: root) }
        try counter("intel-rapl:0", "package-0", 100, range: 1000)
        let meter = try #require(EnergyMeter(root: root))
        #expect(meter.joules(from: [990], to: [5]) == 15e-6)
    }

    @Test func withoutACounterThatCanBeReadThereIsNoMeter() throws {
        defer { try? FileManager.default.removeItem(atPath: root) }
        #expect(EnergyMeter(root: root) == nil)
        try counter("intel-rapl:0", "package-0", nil)
        #expect(EnergyMeter(root: root) == nil)
        try counter("intel-rapl:0", "psys", 7)
        #expect(EnergyMeter(root: root) == nil)
    }
}
