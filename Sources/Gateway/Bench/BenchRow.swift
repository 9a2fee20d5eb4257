/// One line of the result. Names are the contract's.
public struct BenchRow: Sendable, Encodable {
    public var path = "software"
    public var direction: String
    /// Mean inner IP length.
    public var innerOctets: Double
    public var associations: Int
    public var workers = 1
    public var cyclesPerPacketMedian: Double
    public var cyclesPerPacketMin: Double
    public var ioFloorCycles: Double
    public var cyclesPerOctet: Double
    public var packetsPerSecond: Double
    public var innerBitsPerSecond: Double
    /// No meter is read yet; null, never estimated.
    public var joulesPerGigabyte: Double?

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
