import IPsec
import Wire

/// What a packet's first octets say, for people. Anything may be in them, and any part may be missing.
struct PacketWords: Equatable {
    /// MAC addresses of a frame.
    var macs: (source: String, destination: String)?
    /// "10.0.2.5 -> 10.0.1.7 udp 53 -> 4242".
    var text: String
    var spi: SPI?
    /// As ESP and AH carry it: the lower 32 bits.
    var sequenceNumber: UInt32?

    static func == (left: PacketWords, right: PacketWords) -> Bool {
        left.text == right.text && left.spi == right.spi && left.sequenceNumber == right.sequenceNumber
            && left.macs?.source == right.macs?.source && left.macs?.destination == right.macs?.destination
    }

    private let octets: [UInt8]

    /// Of a frame from its Ethernet header on.
    init(frame octets: [UInt8]) {
        self.octets = octets
        text = ""
        guard octets.count >= 14 else {
            text = "a frame of \(octets.count) octets"
            return
        }
        macs = (mac(6), mac(0))
        var type = number(12, 2), start = 14
        if type == Int(EtherType.vlan) {
            text = "vlan \(number(14, 2) & 0xfff) "
            (type, start) = (number(16, 2), 18)
        }
        switch type {
        case Int(EtherType.ipv4), Int(EtherType.ipv6): addIP(at: start)
        case Int(EtherType.arp): addARP(at: start)
        default: text += "EtherType 0x\(hex(UInt64(type), 4))"
        }
    }

    /// Of an IP packet.
    init(ip octets: [UInt8]) {
        self.octets = octets
        text = ""
        addIP(at: 0)
    }

    private func has(_ offset: Int, _ width: Int) -> Bool { offset >= 0 && offset + width <= octets.count }

    /// 0 where the octets are not there.
    private func number(_ offset: Int, _ width: Int) -> Int {
        has(offset, width) ? octets[offset..<offset + width].reduce(0) { $0 << 8 | Int($1) } : 0
    }

    private func mac(_ offset: Int) -> String {
        MACAddress(rawValue: UInt64(number(offset, 6))).description
    }

    private func hex(_ number: UInt64, _ digits: Int) -> String {
        let text = String(number, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }

    private mutating func addARP(at start: Int) {
        guard has(start, 28) else { return text += "arp, cut" }
        let sender = IPAddress(v4: UInt32(number(start + 14, 4))), target = IPAddress(v4: UInt32(number(start + 24, 4)))
        text +=
            number(start + 6, 2) == 1
            ? "arp who has \(target), tell \(sender)" : "arp \(sender) is at \(mac(start + 8))"
    }

    private mutating func addIP(at start: Int) {
        switch has(start, 1) ? octets[start] >> 4 : 0 {
        case 4 where has(start, 20):
            let length = Int(octets[start] & 15) * 4, fragment = number(start + 6, 2)
            text +=
                "\(IPAddress(v4: UInt32(number(start + 12, 4)))) -> \(IPAddress(v4: UInt32(number(start + 16, 4)))) "
            if fragment & 0x1fff != 0 {
                text += "fragment at \(fragment & 0x1fff * 8) of protocol \(octets[start + 9])"
            } else {
                addUpper(octets[start + 9], at: start + length)
                if fragment & 0x2000 != 0 { text += ", a first fragment" }
            }
        case 6 where has(start, 40):
            text += "\(address6(start + 8)) -> \(address6(start + 24)) "
            addExtensions(octets[start + 6], at: start + 40)
        default: text += "no IP packet"
        }
    }

    private func address6(_ offset: Int) -> IPAddress {
        IPAddress(v6: octets[offset..<offset + 16].reduce(UInt128(0)) { $0 << 8 | UInt128($1) })
    }

    /// Hop-by-hop options, routing, destination options, and fragments.
    private mutating func addExtensions(_ first: UInt8, at start: Int) {
        var next = first, offset = start
        for _ in 0..<8 {
            guard [0, 43, 60, 44].contains(next), has(offset, 8) else { break }
            if next == 44 && number(offset + 2, 2) & 0xfff8 != 0 {
                return text += "fragment at \(number(offset + 2, 2) & 0xfff8) of protocol \(octets[offset])"
            }
            let length = next == 44 ? 8 : (Int(octets[offset + 1]) + 1) * 8
            (next, offset) = (octets[offset], offset + length)
        }
        addUpper(next, at: offset)
    }

    private mutating func addUpper(_ upper: UInt8, at start: Int) {
        switch upper {
        case IPProtocol.esp, IPProtocol.ah:
            let offset = upper == IPProtocol.esp ? start : start + 4
            addAssociation(upper == IPProtocol.esp ? "esp" : "ah", at: offset)
        case IPProtocol.udp:
            text += "udp \(number(start, 2)) -> \(number(start + 2, 2))"
            let port = Int(UDPHeader.natTraversalPort)
            if number(start, 2) == port || number(start + 2, 2) == port, number(start + 8, 4) != 0 {
                text += " "
                addAssociation("esp", at: start + 8)
            }
        case IPProtocol.tcp: text += "tcp \(number(start, 2)) -> \(number(start + 2, 2))"
        case IPProtocol.sctp: text += "sctp \(number(start, 2)) -> \(number(start + 2, 2))"
        case IPProtocol.icmp, IPProtocol.icmpv6:
            text +=
                (upper == IPProtocol.icmp ? "icmp " : "icmpv6 ")
                + message(upper, number(start, 1), number(start + 1, 1))
        default: text += "protocol \(upper)"
        }
    }

    private func message(_ upper: UInt8, _ type: Int, _ code: Int) -> String {
        switch (upper, type) {
        case (IPProtocol.icmp, 0), (IPProtocol.icmpv6, 129): "echo reply"
        case (IPProtocol.icmp, 8), (IPProtocol.icmpv6, 128): "echo request"
        case (IPProtocol.icmpv6, 135): "neighbor solicitation"
        case (IPProtocol.icmpv6, 136): "neighbor advertisement"
        default: "type \(type) code \(code)"
        }
    }

    private mutating func addAssociation(_ name: String, at offset: Int) {
        guard has(offset, 8) else { return text += "\(name), cut" }
        let spi = SPI(rawValue: UInt32(number(offset, 4)))
        (self.spi, sequenceNumber) = (spi, UInt32(number(offset + 4, 4)))
        text += "\(name) SPI \(spi) sequence number \(number(offset + 4, 4))"
    }
}
