/// One line of the result. Names are the contract's.
public struct BenchRow: Sendable, Encodable {
    /// Who encrypted: "software", "inline", "lookaside" or "null"; "software+store" with numbers reserved on disk,
    /// "esp" for ESP without ports and lookups.
    public var path = "software"
    /// "encap", "decap" or "both".
    public var direction: String
    /// Mean inner IP length.
    public var innerOctets: Double
    /// Number of SAs of each worker that packets took turns on, in random order.
    public var associations: Int
    /// Number of workers, each on a core and with a feed of its own.
    public var workers = 1
    /// TSC cycles a packet on its core, feed included: median over samples.
    public var cyclesPerPacketMedian: Double
    /// The least of all samples.
    public var cyclesPerPacketMin: Double
    /// TSC cycles a packet of the feed without a worker, in the same run.
    public var ioFloorCycles: Double
    /// Median cycles by inner octets.
    public var cyclesPerOctet: Double
    /// What the median is at the TSC's rate, all workers together.
    public var packetsPerSecond: Double
    /// Inner IP bits, likewise.
    public var innerBitsPerSecond: Double
    /// What all processors of the machine used while this was done, by 10⁹ inner octets; of encapsulation, and only
    /// where the kernel tells (RAPL, as root). Never estimated.
    public var joulesPerGigabyte: Double?
    /// Whether packets of several lengths took turns; not printed.
    var isMixed = false

    /// Whether another row differs in the number of workers at most.
    func isSameWork(as other: BenchRow) -> Bool {
        path == other.path && direction == other.direction && associations == other.associations
            && innerOctets == other.innerOctets
    }

    enum CodingKeys: String, CodingKey {
        case path, direction
        case innerOctets = "inner_octets"
        case associations, workers
        case cyclesPerPacketMedian = "cycles_per_packet_median"
        case cyclesPerPacketMin = "cycles_per_packet_min"
        case ioFloorCycles = "io_floor_cycles"
        case cyclesPerOctet = "cycles_per_octet"
        case packetsPerSecond = "packets_per_second"
        case innerBitsPerSecond = "inner_bits_per_second"
        case joulesPerGigabyte = "joules_per_gigabyte"
    }

    /// Writes null where there is no figure: readers find every key in every row.
    public func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(path, forKey: .path)
        try values.encode(direction, forKey: .direction)
        try values.encode(innerOctets, forKey: .innerOctets)
        try values.encode(associations, forKey: .associations)
        try values.encode(workers, forKey: .workers)
        try values.encode(cyclesPerPacketMedian, forKey: .cyclesPerPacketMedian)
        try values.encode(cyclesPerPacketMin, forKey: .cyclesPerPacketMin)
        try values.encode(ioFloorCycles, forKey: .ioFloorCycles)
        try values.encode(cyclesPerOctet, forKey: .cyclesPerOctet)
        try values.encode(packetsPerSecond, forKey: .packetsPerSecond)
        try values.encode(innerBitsPerSecond, forKey: .innerBitsPerSecond)
        try values.encode(joulesPerGigabyte, forKey: .joulesPerGigabyte)
    }
}
