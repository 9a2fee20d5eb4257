// `vpn-gw pcap`: the production worker, fed from capture files and drained into others, on the caller's thread.
//
// In the order of a packet: a run of records of one port goes into fresh buffers and into the port's queue; the worker
// polls once, with the capture's clock; what it sent is written with the time stamp it came with; what it dropped is
// written as it came. Nothing depends on the machine's clock or on chance: same files, same site, same output.

import Capture
import DataPlane
import Foundation
import IPsec
import Wire

/// A replay of capture files through one worker. Needs no device, no hugepages, no root.
public struct Replay: ~Copyable {
    private static let burst = 32
    /// Records further apart than this are not one burst: the worker reads its clock once a burst.
    private static let burstNanoseconds: UInt64 = 1_000_000
    private static let bufferCount = 4095
    /// Frames up to this pass whatever the ports' MTU, so that it is the worker that judges them.
    private static let frameOctets = 9216 + 64

    private let topology: Topology
    private let pool: PacketPool
    private let ports: [RingPort]
    private let group: WorkerGroup
    private var worker: Worker
    private var book: TunnelBook
    /// When the schedule or a lifetime changes what is sent under, in seconds since 1970.
    private var nextChange: Int64?
    private var merge: CaptureMerge
    private var outputs: CaptureOutputs
    private var originals: DropOriginals
    private var burst = MbufList(capacity: Replay.burst)
    private var sent = MbufList(capacity: 256)
    private var clock: UInt64 = 0
    /// A record that was read and belongs to the next burst.
    private var pending: (port: Int, record: CaptureRecord)?
    /// Records taken from the inputs so far.
    public private(set) var records: UInt64 = 0

    /// Opens all files and makes the worker. Starts DPDK's environment: once in a process. Throws `ReplayError`,
    /// `CaptureError` or `DataPlaneError`.
    public init(_ topology: Topology, _ options: ReplayOptions) throws {
        let names = topology.ports.map(\.name)
        for file in options.inputs + options.outputs where !names.contains(file.port) {
            throw ReplayError.unknownPort(file.port, known: names)
        }
        for (index, file) in options.outputs.enumerated()
        where options.outputs.prefix(index).contains(where: { $0.port == file.port }) {
            throw ReplayError.portTwice(file.port)
        }
        let written = options.outputs.map(\.path) + [options.dropsPath, options.reportPath].compactMap { $0 }
        try CaptureFiles.checkDistinct(inputs: options.inputs.map(\.path), outputs: written)
        let inputs = options.inputs.map { file in
            CaptureMerge.Input(port: names.firstIndex(of: file.port) ?? 0, path: file.path)
        }
        var merge = try CaptureMerge(inputs)
        let outputs = try CaptureOutputs(names.map { name in options.outputs.first { $0.port == name }?.path })
        let originals = try DropOriginals(path: options.dropsPath, capacity: Replay.burst)

        try Environment.start(
            Environment.Settings(
                workerCores: [], hugePages: false, memoryMiB: 192 + (topology.routeTable6Octets >> 20), devices: [],
                extraArguments: []),
            keepAffinity: true)
        let frame = max(Replay.frameOctets, (topology.ports.map(\.mtuOctets).max() ?? 0) + 64)
        let pool = try PacketPool(name: "replay", count: Replay.bufferCount, frameOctets: frame)
        var ports: [RingPort] = []
        for (index, port) in topology.ports.enumerated() {
            ports.append(try RingPort(port, index: index, pool: pool, name: "replay"))
        }
        let start = Int64((merge.peekTimestampNanoseconds() ?? 0) / 1_000_000_000)
        let arena = try AssociationArena()
        var book = TunnelBook()
        try book.follow(topology, workers: 1, installer: UnboundInstaller(arena: arena), now: start)
        _ = book.advance(to: start)
        let tables = try ForwardingTables(topology, states: book.states, name: "replay")
        let group = try WorkerGroup(
            tables, arena: arena, ports: ports.map(\.port), pool: pool, workers: 1, ticksPerSecond: 1_000_000_000,
            mode: .replay(resolve: options.resolve), name: "replay")
        worker = try Worker(group.plan(0))
        self.book = book
        nextChange = book.nextChange(after: start)
        self.topology = topology
        self.pool = pool
        self.ports = ports
        self.group = group
        self.merge = merge
        self.outputs = outputs
        self.originals = originals
    }

    /// Processes one burst. False when all inputs are at their end; throws when one is corrupt, with everything before
    /// the broken record processed.
    public mutating func step() throws -> Bool {
        var failure: (any Error)?
        guard let port = pending?.port ?? merge.peekPort() else {
            _ = try merge.next()  // the end, or an error that peeking does not tell
            return false
        }
        do {
            while burst.count < Replay.burst, let next = try nextRecord(of: port) {
                let earliest = burst.count == 0 ? next.timestampNanoseconds : clock
                guard next.timestampNanoseconds - earliest <= Replay.burstNanoseconds else {
                    pending = (port, next)
                    break
                }
                try take(next, port)
            }
        } catch { failure = error }
        try process(port)
        if let failure { throw failure }
        return true
    }

    /// The next record if it belongs to `port`. Its octets hold until the merge is asked again.
    private mutating func nextRecord(of port: Int) throws -> CaptureRecord? {
        if let (_, record) = pending.take() { return record }
        guard merge.peekPort() == port else { return nil }
        return try merge.next()?.record
    }

    private mutating func take(_ record: CaptureRecord, _ port: Int) throws {
        records += 1
        clock = record.timestampNanoseconds
        let isWhole = !record.isCut
        guard isWhole, let mbuf = burst.appendFresh(from: pool) else {
            return try refuse(record, port, isWhole ? .noBuffers : .malformed)
        }
        let timestamp = record.timestampNanoseconds
        let fits =
            record.linkType == .ethernet
            ? mbuf.fill(with: record.octets, port: ports[port].port, timestamp: timestamp)
            : mbuf.fill(withPacket: record.octets, port: ports[port].port, timestamp: timestamp)
        guard fits else {
            burst.removeLast()
            mbuf.free()
            return try refuse(record, port, .noBuffers)
        }
        originals.keep(mbuf)
    }

    /// Drops a record before the worker sees it.
    private mutating func refuse(_ record: CaptureRecord, _ port: Int, _ reason: DropReason) throws {
        worker.refuse(port: port, octets: record.octets.count, reason)
        try originals.write(refused: record)
    }

    private mutating func process(_ port: Int) throws {
        try keepBook()
        _ = ports[port].feed(&burst)
        worker.poll(now: clock)
        try writeSent()
        try writeDropped()
    }

    /// What the control plane does for a gateway that runs, by the capture's clock: keys roll over, SAs end.
    private mutating func keepBook() throws {
        let now = Int64(clock / 1_000_000_000)
        var isDue = nextChange.map { $0 <= now } ?? false
        group.arena.attention.take { _ in isDue = true }
        var next = book
        group.takeNotices { notice in
            if !next.heed(notice, topology, now: now).isEmpty { isDue = true }
        }
        guard isDue else { return }
        nextChange = nil
        _ = next.advance(to: now)
        let isOther = !next.saysSame(as: book)
        book = next
        if isOther {
            // Those that the worker has left: there is memory for two route tables.
            _ = group.reclaim()
            group.publish(
                try ForwardingTables(
                    book.applied(to: topology), states: book.states, name: "replay", previous: group.tables))
        }
        nextChange = book.nextChange(after: now)
    }

    private mutating func writeSent() throws {
        defer { sent.freeAll() }  // those of a write that failed
        for index in ports.indices {
            ports[index].collect(into: &sent)
            while sent.count > 0 {
                try outputs.write(sent, port: index)
                sent.freeAll()
                ports[index].collect(into: &sent)
            }
        }
    }

    private mutating func writeDropped() throws {
        try originals.writeDropped(worker.dropped, timestampNanoseconds: clock)
        worker.releaseDropped()
    }

    /// Ends the replay: nothing is in flight any more, all files are complete. Call it after an error of an input as
    /// well.
    public consuming func finish() throws -> Report {
        burst.freeAll()  // of a step that failed
        worker.drain(keepingDropped: true)
        try writeSent()
        try writeDropped()
        let report = Report(group.counts, group, book)
        for port in ports { port.close() }
        _ = group.reclaim()
        precondition(pool.inUse == 0, "packet buffers leaked")
        try outputs.close()
        try originals.close()
        guard report.isConserved else { throw ReplayError.notConserved }
        return report
    }
}
