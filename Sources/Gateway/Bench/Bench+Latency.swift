// How long a packet takes: packets are due at even distances by the time-stamp counter, whatever the worker does, and a
// packet's time runs from when it was due, not from when the feed came to it. A worker that stood still for a while is
// charged with all packets that should have come meanwhile.

import DataPlane
import ESP
import IPsec

extension Bench {
    /// Ticks between two packets when all are due at once and each burst follows on the last one without a pause: the
    /// median, which is what the worker keeps up with while its packets are timed.
    mutating func closestInterval(_ direction: BenchOptions.Direction, samples: Int) throws -> Double {
        var taken: [Double] = [], scratch = LatencyHistogram()
        let packets = 16 * Bench.burst
        for index in -samples / 10..<samples {
            let spent = try pace(direction, interval: 1e-3, packets: packets, into: &scratch)
            if index >= 0 { taken.append(Double(spent) / Double(packets)) }
        }
        return BenchReport.median(taken)
    }

    /// Sends so many packets, one due every `interval` ticks, and records what time each took from then to where it was
    /// sent. The clock stands still while the peer makes what is to be decrypted. Returns the ticks that it showed.
    @discardableResult
    mutating func pace(
        _ direction: BenchOptions.Direction, interval: Double, packets: Int, into histogram: inout LatencyHistogram
    ) throws -> UInt64 {
        var start = Environment.ticks, brought = 0, sent = 0
        while sent < packets {
            let due = Int(min(Double(packets), Double(Environment.ticks - start) / interval + 1))
            let count = min(Bench.burst, due - brought)
            if count > 0 {
                let stopped = Environment.ticks
                try make(count, direction)
                if direction == .decap { start += Environment.ticks - stopped }
                try bring(count, direction) { UInt64(Double(brought + $0) * interval) }
                brought += count
            }
            sent += try pollPaced(direction) { now, due in histogram.record(now - start - due) }
        }
        return Environment.ticks - start
    }

    /// The peer encrypts what is to be decrypted.
    private mutating func make(_ count: Int, _ direction: BenchOptions.Direction) throws {
        guard direction == .decap else { return }
        try feed(count)
        for _ in 0..<4 where made.count < count {
            near.poll(now: Environment.ticks)
            nearWAN.collect(into: &sent)
            for index in 0..<sent.count { made.append(sent[index]) }
            sent.removeAll()
        }
        try Bench.expect(made.count == count, "encapsulation lost packets")
    }

    /// Puts packets where the worker finds them, each with the time when it was due.
    private mutating func bring(
        _ count: Int, _ direction: BenchOptions.Direction, due: (Int) -> UInt64
    ) throws {
        if direction == .decap {
            try fillFromMade(to: farWAN)
        } else {
            try Bench.expect(frames.allocate(count, from: pool), "no buffers")
            traffic.fill(frames, port: nearLAN.port)
        }
        for index in 0..<count { frames[index].timestamp = due(index) }
        _ = direction == .decap ? farWAN.feed(&frames) : nearLAN.feed(&frames)
        made.freeAll()
    }

    /// One round of the worker that is measured; tells of each packet that it sent when that was and when it was due,
    /// and how many they are.
    private mutating func pollPaced(
        _ direction: BenchOptions.Direction, _ body: (_ now: UInt64, _ due: UInt64) -> Void
    ) throws -> Int {
        if direction == .decap {
            far.poll(now: Environment.ticks)
            farLAN.collect(into: &sent)
            try Bench.expect(far.dropped.count == 0, "decapsulation lost packets")
        } else {
            near.poll(now: Environment.ticks)
            nearWAN.collect(into: &sent)
            try Bench.expect(near.dropped.count == 0, "encapsulation lost packets")
        }
        let count = sent.count, now = Environment.ticks
        for index in 0..<count { body(now, sent[index].timestamp) }
        sent.freeAll()
        return count
    }
}
