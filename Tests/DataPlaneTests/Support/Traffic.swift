import SeededRandom

@testable import DataPlane

/// Random frames for `PropertySite.near`: good ones, bad ones and rubbish.
struct Traffic {
    static let secret = Array("CLEAR-TEXT-OF-THE-INSIDE".utf8), forged = Array("CLEAR-TEXT-FROM-OUTSIDE".utf8)

    var random: SplitMix64
    private var number: UInt64 = 0
    /// ESP that the peer made, kept to be sent again.
    private var kept: [[UInt8]] = []

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    /// A payload that can be told from all others: the mark, a number, and anything.
    private mutating func payload(_ mark: [UInt8]) -> [UInt8] {
        number += 1
        return Packet.udp(
            from: RandomSite.transportPort(&random), to: RandomSite.transportPort(&random),
            mark + bigEndian(number) + bigEndian(~number)
                + random.octets(random.once(in: 20) ? random.below(1500) : random.below(100)))
    }

    private mutating func host(_ net: UInt32) -> UInt32 { net | UInt32(2 + random.below(20)) }

    private mutating func packet(_ source: UInt32, _ destination: UInt32, _ payload: [UInt8], _ ipProtocol: UInt8 = 17)
        -> Packet.IPv4
    {
        Packet.IPv4(
            typeOfService: UInt8(random.below(256)), fragment: random.pick([0, 0, 0, 0x4000, 0x4000, 0x2000, 0x0007]),
            timeToLive: random.pick([64, 64, 64, 64, 255, 2, 1, 0]), ipProtocol: ipProtocol, source: source,
            destination: destination, options: random.once(in: 8) ? random.pick([[1, 1, 1, 0], [7, 3, 4, 0]]) : [],
            payload: payload)
    }

    private func frame(_ packet: Packet.IPv4) -> [UInt8] { Packet.frame(to: 0x0200_0000_0100, packet.octets) }

    /// What a host inside sends.
    mutating func inside() -> [UInt8] {
        let source = host(0x0a00_0100)
        switch random.below(16) {
        case 0...6:
            let there = host(random.pick([0x0a00_0200, 0x0a09_0500] as [UInt32]))
            return frame(packet(source, there, payload(Traffic.secret), random.pick([6, 17, 17, 132, 253])))
        case 7:  // telnet over there
            return frame(packet(source, host(0x0a00_0200), Packet.udp(from: 9, to: 23, Traffic.secret), 6))
        case 8: return frame(packet(source, host(0xcb00_7100), Packet.udp(from: 9, to: 505, random.octets(30))))
        case 9: return frame(packet(source, host(0x0a00_0300), payload([])))
        case 10: return frame(packet(source, host(0x0a07_0100), payload([])))
        case 11: return frame(packet(source, PropertySite.lanAddress, Packet.echoRequest(random.octets(24)), 1))
        case 12:
            let anyone = UInt32(truncatingIfNeeded: random.next())
            return frame(packet(random.pick([anyone, source]), anyone, payload([])))
        case 13: return arp(PropertySite.lan)
        case 14: return damaged(inside())
        default: return garbage()
        }
    }

    /// What the peer's hosts send to ours, in clear, for the peer to protect.
    mutating func forPeer() -> [UInt8] {
        let stray = random.once(in: 12)
        let (source, destination) =
            random.once(in: 2) || stray
            ? (host(0x0a00_0200), host(stray ? 0x0a4d_0000 : 0x0a00_0100)) : (host(0x0a09_0500), host(0x0a00_0300))
        return frame(packet(source, destination, payload(Traffic.secret)))
    }

    /// What arrives from outside, given what the peer has just made.
    mutating func outside(_ fresh: [[UInt8]]) -> [[UInt8]] {
        var frames: [[UInt8]] = []
        for esp in fresh {
            switch random.below(10) {
            case 0: frames += [esp, esp]
            case 1: frames.append(damaged(esp))
            case 2: frames.append(rewritten(esp))
            case 3: break  // comes later, or never
            default: frames.append(esp)
            }
            if kept.count < 300 { kept.append(esp) } else { kept[random.below(kept.count)] = esp }
        }
        while random.once(in: 2), let again = kept.randomElement(using: &random) { frames.append(again) }
        for _ in 0..<random.below(6) { frames.append(clearOutside()) }
        return frames
    }

    private mutating func clearOutside() -> [UInt8] {
        let anyone = host(0xcb00_7100)
        switch random.below(8) {
        case 0: return frame(packet(anyone, PropertySite.wanAddress, Packet.echoRequest(random.octets(40)), 1))
        case 1: return frame(packet(host(0x0a00_0200), host(0x0a00_0100), payload(Traffic.forged)))
        case 2: return frame(packet(anyone, host(0x0a00_0100), Packet.udp(from: 505, to: 9, random.octets(9))))
        case 3: return frame(packet(0xcb00_7142, host(0x0a00_0100), payload(Traffic.forged)))
        case 4: return arp(PropertySite.wan)
        case 5:
            let spi = bigEndian(UInt32(truncatingIfNeeded: random.next()))
            return frame(
                packet(PropertySite.remotes[0], PropertySite.wanAddress, spi + random.octets(random.below(80)), 50))
        case 6: return frame(packet(anyone, host(0x0a00_0100), payload(Traffic.forged), random.pick([1, 6, 50])))
        default: return garbage()
        }
    }

    /// ARP of every kind, from neighbours that exist and that do not.
    private mutating func arp(_ port: Int) -> [UInt8] {
        let net: UInt32 = port == PropertySite.lan ? 0x0a00_0100 : 0xc000_0200
        let own = port == PropertySite.lan ? PropertySite.lanAddress : PropertySite.wanAddress
        let who = random.pick([host(net), own, 0, 0x0808_0808, PropertySite.gateway, PropertySite.remotes[0]])
        let mac = random.pick([0x0200_0000_0042, 0xffff_ffff_ffff, 0, 0x0100_5e00_0001] as [UInt64])
        return Packet.frame(
            to: 0xffff_ffff_ffff, type: 0x0806,
            Packet.arp(
                operation: random.pick([1, 1, 2, 3]), senderMAC: mac, sender: who,
                target: random.pick([own, own, host(net)])))
    }

    /// The neighbours' answer to a question of the gateway's; nil for other frames, and sometimes for no reason.
    mutating func answer(to frame: [UInt8]) -> [UInt8]? {
        guard frame.count >= 42, Packet.uint16(frame, at: 12) == 0x0806, frame[21] == 1, !random.once(in: 4) else {
            return nil
        }
        let asked = Packet.uint32(frame, at: 38), asker = Packet.uint32(frame, at: 28)
        let gateway = Packet.uint64(frame, at: 4) & 0xffff_ffff_ffff
        return Packet.frame(
            to: gateway, type: 0x0806,
            Packet.arp(operation: 2, senderMAC: 0x0200_0000_0099, sender: asked, targetMAC: gateway, target: asker))
    }

    private mutating func damaged(_ frame: [UInt8]) -> [UInt8] {
        guard !frame.isEmpty else { return frame }
        var frame = frame
        if random.once(in: 3) { return Array(frame.prefix(random.below(frame.count))) }
        for _ in 0...random.below(3) { frame[random.below(frame.count)] ^= 1 << UInt8(random.below(8)) }
        return frame
    }

    /// Another outer source, or a fragment, with a checksum that holds.
    private mutating func rewritten(_ frame: [UInt8]) -> [UInt8] {
        var frame = frame
        if random.once(in: 2) { frame[14 + 15] ^= 0x40 } else { frame[14 + 6] ^= 0x20 }
        frame.replaceSubrange(24..<26, with: [0, 0])
        frame.replaceSubrange(24..<26, with: bigEndian(~onesComplementSum(frame[14..<34])))
        return frame
    }

    private mutating func garbage() -> [UInt8] {
        let rubbish = random.octets(random.once(in: 4) ? random.below(2000) : random.below(80))
        return random.once(in: 2)
            ? rubbish : Packet.frame(to: 0x0200_0000_0100, type: random.pick([0x0800, 0x0806, 0x86dd]), rubbish)
    }

    /// The number in a payload that bears a mark; nil without it, and for one that was damaged.
    static func number(in frame: [UInt8], mark: [UInt8]) -> UInt64? {
        guard let start = place(of: mark, in: frame), start + mark.count + 16 <= frame.count else { return nil }
        let octets = frame.dropFirst(start + mark.count)
        let number = octets.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        return octets.dropFirst(8).prefix(8).elementsEqual(bigEndian(~number)) ? number : nil
    }

    static func bears(_ frame: [UInt8], _ mark: [UInt8]) -> Bool { place(of: mark, in: frame) != nil }

    static func place(of mark: [UInt8], in frame: [UInt8]) -> Int? {
        guard frame.count >= mark.count else { return nil }
        return (0...frame.count - mark.count).first {
            frame[$0] == mark[0] && frame[$0..<$0 + mark.count].elementsEqual(mark)
        }
    }
}
