import DataPlane

extension BenchReport {
    /// Loads that are offered, in per cent of what the worker keeps up with.
    static let loads = [10, 50, 90]
    private static let slices = 10

    /// What one thread of a crew does to time packets: its part of every pair that has a worker for it. Results by
    /// size, pair and direction; nil where it has no part.
    static func timeWorker(
        _ worker: Int, _ pairs: [BenchPair], _ options: BenchOptions, _ barrier: BenchBarrier,
        _ progress: (String) -> Void
    ) throws -> [[[LatencyResult]?]] {
        var members = try BenchMembers(worker, pairs)
        var found: [[[LatencyResult]?]] = []
        for size in options.sizes {
            members.load(size)
            var ofSize: [[LatencyResult]?] = []
            for (place, pair) in pairs.enumerated() {
                var ofPair: [LatencyResult] = []
                for direction in options.directions where direction != .both {
                    if worker == 0 {
                        progress("latency, \(pair.setup.path.rawValue), \(size.name) octets, \(direction.rawValue)")
                    }
                    let result = try time(members.place(place), &members.benches, direction, options, barrier)
                    if let result { ofPair.append(result) }
                }
                ofSize.append(members.place(place) == nil ? nil : ofPair)
            }
            found.append(ofSize)
        }
        members.drain()
        return found
    }

    private static func time(
        _ place: Int?, _ benches: inout BenchSet, _ direction: BenchOptions.Direction, _ options: BenchOptions,
        _ barrier: BenchBarrier
    ) throws -> LatencyResult? {
        try barrier.wait()
        let interval = try place.map { try benches[$0].closestInterval(direction, samples: options.samples) } ?? 0
        var result = LatencyResult(interval: interval, histograms: loads.map { _ in LatencyHistogram() })
        for _ in 0..<slices {
            for (index, load) in loads.enumerated() {
                try barrier.wait()
                guard let place else { continue }
                let distance = interval * 100 / Double(load)
                // A quarter of a second at each load; of 200 000 packets 200 lie beyond the last percentile.
                let wanted = Int(Double(Environment.ticksPerSecond) / 4 / distance)
                try benches[place].pace(
                    direction, interval: distance, packets: max(100, min(200_000, wanted) / slices),
                    into: &result.histograms[index])
            }
        }
        return place == nil ? nil : result
    }

    /// What all threads of a crew found.
    mutating func add(
        latencies found: [[[[LatencyResult]?]]], _ pairs: [BenchPair], _ options: BenchOptions, _ associations: Int
    ) {
        let directions = options.directions.filter { $0 != .both }, perSecond = Double(Environment.ticksPerSecond)
        for (sizePlace, size) in options.sizes.enumerated() {
            for (place, pair) in pairs.enumerated() {
                let workers = found.compactMap { $0[sizePlace][place] }
                for (way, direction) in directions.enumerated() {
                    let noLoss = workers.reduce(0) { $0 + perSecond / $1[way].interval }
                    for (index, load) in BenchReport.loads.enumerated() {
                        var all = LatencyHistogram()
                        for worker in workers { all.add(worker[way].histograms[index]) }
                        let nanoseconds = { (ticks: UInt64) in (Double(ticks) * 1e9 / perSecond).rounded() }
                        let row = LatencyRow(
                            path: pair.setup.path.rawValue, direction: direction.rawValue,
                            innerOctets: size.meanOctets, associations: associations, workers: pair.setup.workers,
                            loadPercent: load, noLossPacketsPerSecond: noLoss.rounded(),
                            offeredPacketsPerSecond: (noLoss * Double(load) / 100).rounded(), packets: all.count,
                            p50Nanoseconds: nanoseconds(all.percentile(perMille: 500)),
                            p90Nanoseconds: nanoseconds(all.percentile(perMille: 900)),
                            p99Nanoseconds: nanoseconds(all.percentile(perMille: 990)),
                            p999Nanoseconds: nanoseconds(all.percentile(perMille: 999)),
                            maxNanoseconds: nanoseconds(all.maximum))
                        latencies.append(row)
                    }
                }
            }
        }
    }
}
