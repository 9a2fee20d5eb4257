/// Why a packet was not carried on. A packet has exactly one reason: the first that applies, in the order of the cases.
///
/// This list is the only one: the counter's name in reports, the help text and the documentation's table follow from
/// it.
public enum DropReason: UInt8, BitwiseCopyable, CaseIterable, Hashable, Sendable {
    // Looked for in every packet.
    case malformed, unsupportedEthertype, notForUs, martian, rateLimited
    // Outbound.
    case noPolicy, policyDiscard, noOutboundSA, lifetimeExpired, ttlExpired, noRoute, packetTooBig
    case sequenceExhausted, neighborUnresolved
    // Inbound.
    case reassemblyFailed, unprotected, unknownSPI, tunnelAddressMismatch, late, replayed, integrityFailed, ahead
    case badTrailer
    case dummy, ecnViolation, selectorMismatch
    // Anywhere.
    case cryptoError, offloadFailed, handoffFull, txFull, noBuffers

    /// The name in reports and counters: "unknown_spi".
    public var name: String { reportName(of: self) }

    /// One line for the operator.
    public var help: String {
        switch self {
        case .malformed: "lengths, checksum, options, extension headers, routing header type 0, or sequence number 0"
        case .unsupportedEthertype: "neither IPv4, IPv6 nor ARP"
        case .notForUs: "a destination MAC address, or a VLAN, that is not the port's"
        case .martian:
            "an address that can't be on a wire here, a broadcast, a group, or link-local from beyond its link"
        case .rateLimited: "an answer of the gateway's own (echo, ICMP error) beyond its rate"
        case .noPolicy: "no policy covers it, or it is for the gateway itself, which does not answer that"
        case .policyDiscard: "a policy says discard"
        case .noOutboundSA: "its policy's tunnel has no outbound SA"
        case .lifetimeExpired: "its SA's lifetime is over"
        case .ttlExpired: "its TTL or hop limit would reach 0"
        case .noRoute: "no route to its destination, or to the tunnel's remote address"
        case .packetTooBig: "larger than the MTU of the way out, tunnel headers included"
        case .sequenceExhausted: "no sequence number or IV left that is reserved on disk, or none at all"
        case .neighborUnresolved: "the next hop answered neither ARP nor neighbour discovery, or too many packets wait"
        case .reassemblyFailed: "ESP or AH in fragments that can't be put together, or a fragment for transport mode"
        case .unprotected: "clear text from the unprotected side that a protect policy covers"
        case .unknownSPI: "ESP or AH with an SPI of no inbound SA"
        case .tunnelAddressMismatch: "ESP or AH whose outer source is not the SA's remote address"
        case .late: "a sequence number below the anti-replay window"
        case .replayed: "a sequence number that was accepted before"
        case .integrityFailed: "the ICV does not match"
        case .ahead: "an authentic packet too far ahead of what is on disk, and too many wait for that"
        case .badTrailer: "padding, pad length or next header that RFC 4303 does not allow"
        case .dummy: "a dummy packet (next header 59), which is how traffic flow confidentiality looks"
        case .ecnViolation: "an outer congestion mark on an inner packet that can't carry one (RFC 6040)"
        case .selectorMismatch: "a decrypted packet outside its SA's selectors"
        case .cryptoError: "the crypto library or device refused it"
        case .offloadFailed: "the NIC could not encrypt or decrypt it"
        case .handoffFull: "the queue to the worker that owns its SA is full"
        case .txFull: "the port took no more packets"
        case .noBuffers: "no packet buffer, or no room in this one"
        }
    }
}

/// A case's name as reports write it: "unknown_spi" of `unknownSPI`.
func reportName(of reason: some Any) -> String {
    var name = ""
    var previousIsLower = false
    for character in String(describing: reason) {
        if character.isUppercase && previousIsLower { name.append("_") }
        previousIsLower = character.isLowercase || character.isNumber
        name.append(contentsOf: character.lowercased())
    }
    return name
}
