import DataPlane
import Foundation

extension BenchReport {
    /// Measures everything that `options` ask for; `progress` is told what is being measured, on any thread. Starts
    /// DPDK's environment: once in a process.
    ///
    /// With a directory every row is also measured with numbers reserved in a store below it, which goes at the end.
    /// Throws `MachineError.tooFewCores` where the workers don't have a core each.
    public static func run(
        _ options: BenchOptions, reservingBelow directory: String? = nil,
        progress: @escaping @Sendable (String) -> Void
    ) throws -> BenchReport {
        let crew = try start(options)
        guard let directory else {
            var report = BenchReport()
            for associations in options.associations {
                try report.measure(options, associations, crew, progress)
            }
            try report.measureStages(options, progress)
            return report
        }
        let path = "\(directory)/vpn-gw-bench-\(getpid())"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: path) }
        var report = BenchReport()
        for associations in options.associations {
            try report.measureReserving(options, associations, below: path, progress)
        }
        try report.measureStages(options, progress)
        return report
    }

    private static func start(_ options: BenchOptions) throws -> BenchCrew {
        let workers = options.workers.max() ?? 1
        let crew = try BenchCrew(workers: workers)
        // The most tunnels want the most memory: 4 KiB each for policies, besides what the route table takes.
        let inAll = BenchSetup.workersInAll(options), tunnels = (options.associations.max() ?? 0) * inAll
        let settings = Environment.Settings(
            workerCores: crew.cores, hugePages: false, memoryMiB: 512 * inAll + tunnels / 128,
            devices: BenchSetup.cryptoDevices(options), extraArguments: [])
        try Environment.start(settings, keepAffinity: true)
        return crew
    }

    /// All paths and numbers of workers at one number of SAs, in turn within each sample: figures of one line are of
    /// the same moments.
    private mutating func measure(
        _ options: BenchOptions, _ associations: Int, _ crew: BenchCrew,
        _ progress: @escaping @Sendable (String) -> Void
    ) throws {
        progress("making \(associations) SA(s)")
        let pairs = try BenchSetup.all(options, associations: associations).map {
            try BenchPair($0, associations: associations)
        }
        if options.latency {
            let found = try crew.run { worker, barrier in
                try BenchReport.timeWorker(worker, pairs, options, barrier, progress)
            }
            add(latencies: found, pairs, options, associations)
        } else {
            let meter = EnergyMeter()
            let taken = try crew.run { worker, barrier in
                try BenchReport.sampleWorker(worker, pairs, options, associations, meter, barrier, progress)
            }
            for (sizePlace, size) in options.sizes.enumerated() {
                for (path, workers) in options.pathsAndWorkers {
                    let places = pairs.indices.filter {
                        pairs[$0].setup.path == path && pairs[$0].setup.workers == workers
                    }
                    let samples = places.flatMap { place in
                        taken.indices.filter { pairs[place].setup.worker(on: $0) != nil }.map {
                            taken[$0][sizePlace][place]
                        }
                    }
                    add(options, size, associations, .mean(samples), path: path.rawValue, workers: workers)
                }
            }
        }
        for pair in pairs { try pair.close() }
    }

    /// What one thread of a crew does: its part of every pair that has a worker for it, and nothing while others are
    /// measured. Samples by size and pair.
    private static func sampleWorker(
        _ worker: Int, _ pairs: [BenchPair], _ options: BenchOptions, _ associations: Int, _ meter: EnergyMeter?,
        _ barrier: BenchBarrier, _ progress: (String) -> Void
    ) throws -> [[Bench.Samples]] {
        let members = try BenchMembers(worker, pairs)
        var taken: [[Bench.Samples]] = []
        for size in options.sizes {
            if worker == 0 { progress("\(associations) SA(s), \(size.name) octets") }
            members.load(size)
            var samples = pairs.map { _ in Bench.Samples() }
            for index in -20..<options.samples {
                if index == 0 { samples = pairs.map { _ in Bench.Samples() } }
                for place in pairs.indices {
                    try barrier.wait()
                    guard let own = members.place(place) else { continue }
                    try members.benches[own].sample(rounds: options.roundsPerSample, into: &samples[place])
                }
            }
            if let meter {
                for place in pairs.indices {
                    let own = members.place(place)
                    try read(
                        meter, own, members.benches, isFirst: worker == pairs[place].setup.firstThread, barrier,
                        into: &samples[place])
                }
            }
            taken.append(samples)
        }
        members.drain()
        return taken
    }

    /// Half a second of encapsulation between two looks at the meter, all workers at once. What is to be decrypted
    /// would have to be made meanwhile, by the same processor: of that nothing is told.
    private static func read(
        _ meter: EnergyMeter, _ own: Int?, _ benches: borrowing BenchSet, isFirst: Bool, _ barrier: BenchBarrier,
        into samples: inout Bench.Samples
    ) throws {
        try barrier.wait()
        let before = isFirst ? meter.read() : nil
        try barrier.wait()
        if let own { samples.metered = try benches[own].encapsulate(ticks: Environment.ticksPerSecond / 2) }
        try barrier.wait()
        guard let before, let after = meter.read() else { return }
        samples.joules = meter.joules(from: before, to: after)
    }

    /// One worker with and without a store below `path`, in turn within each sample.
    private mutating func measureReserving(
        _ options: BenchOptions, _ associations: Int, below path: String, _ progress: (String) -> Void
    ) throws {
        var setup = BenchSetup(path: .software, workers: 1, name: "\(associations)")
        let pair = try BenchPair(setup, associations: associations)
        setup.name += "-store"
        setup.directory = path
        let reservingPair = try BenchPair(setup, associations: associations)
        var bench = try Bench(pair, worker: 0), reserving = try Bench(reservingPair, worker: 0)
        for size in options.sizes {
            progress("\(associations) SA(s), \(size.name) octets, without and with reservations")
            bench.load(size.lengths)
            reserving.load(size.lengths)
            var samples = Bench.Samples(), durable = Bench.Samples()
            for index in -200..<options.samples {
                if index == 0 { (samples, durable) = (Bench.Samples(), Bench.Samples()) }
                try bench.sample(rounds: options.roundsPerSample, into: &samples)
                try reserving.patientSample(rounds: options.roundsPerSample, into: &durable)
            }
            add(options, size, associations, samples, path: "software", workers: 1)
            add(options, size, associations, durable, path: "software+store", workers: 1)
        }
        addWrites(associations, reservingPair.reserved, repeated: reserving.repeated)
        bench.drain()
        reserving.drain()
        try pair.close()
        try reservingPair.close()
    }

    private mutating func measureStages(_ options: BenchOptions, _ progress: (String) -> Void) throws {
        guard options.stages else { return }
        for associations in options.associations {
            for size in options.sizes where size.lengths.count == 1 {
                progress("ESP alone, \(associations) SA(s), \(size.name) octets")
                add(
                    try BenchStages.measure(
                        innerOctets: size.lengths[0], associations: associations, samples: options.samples))
            }
        }
    }
}
