import CDPDK
import ESP
import IPsec
import Wire

extension Coprocessor {
    /// Whether it does right, before a worker uses it: what it encrypts is what OpenSSL makes of it, it decrypts that,
    /// and does not pass off a wrong ICV as right. Under a key that no SA has.
    public func isRight(_ pool: PacketPool) -> Bool {
        guard let key = KeyMaterial(hexadecimal: EngineSelfTest.keyText, for: .aes128GCM16) else { return false }
        let zeros = [UInt8](repeating: 0, count: ESPHeader.icvOctets)
        var broken = EngineSelfTest.sealed
        broken[broken.count - 1] ^= 1
        let outbound = exchange(EngineSelfTest.text + zeros, .outbound, key, pool)
        let inbound = exchange(EngineSelfTest.sealed, .inbound, key, pool)
        let refused = exchange(broken, .inbound, key, pool)
        return outbound?.octets == EngineSelfTest.sealed && outbound?.status == cdpdk_crossing_right
            && inbound?.octets.prefix(EngineSelfTest.text.count).elementsEqual(EngineSelfTest.text) == true
            && inbound?.status == cdpdk_crossing_right && refused?.status == cdpdk_crossing_forged
    }

    /// What came back of text and ICV; nil when nothing did within a second.
    private func exchange(
        _ rest: [UInt8], _ direction: Direction, _ key: KeyMaterial, _ pool: PacketPool
    ) -> (octets: [UInt8], status: Int)? {
        guard let session = makeSession(direction, key) else { return nil }
        guard let mbuf = pool.allocate() else {
            destroySession(session)
            return nil
        }
        let head = ESPHeader.headerOctets + ESPHeader.ivOctets
        mbuf.setPacket(offset: mbuf.offset, length: head + rest.count)
        let packet = mbuf.bytes
        packet.store(EngineSelfTest.spi.rawValue, at: 0)
        packet.store(1 as UInt32, at: 4)
        packet.store(EngineSelfTest.vector, at: 8)
        for (index, octet) in rest.enumerated() { packet.store(octet, at: head + index) }
        var crossing = unsafe cdpdk_crossing()
        unsafe crossing.buffer = unsafe mbuf.pointer
        unsafe crossing.handle = session
        unsafe crossing.text_octets = UInt16(rest.count - ESPHeader.icvOctets)
        let lane = unsafe lanes[0].pointer
        guard unsafe cdpdk_lane_add(lane, &crossing) else {
            mbuf.free()
            destroySession(session)
            return nil
        }
        let deadline = rte_rdtsc() + Environment.ticksPerSecond
        while rte_rdtsc() < deadline {
            unsafe cdpdk_lane_send(lane)
            var count: UInt32 = 0
            let back = unsafe cdpdk_lane_collect(lane, &count)
            guard count > 0, let status = unsafe back?.pointee.status else { continue }
            defer {
                mbuf.free()
                destroySession(session)
            }
            return ((0..<rest.count).map { packet.uint8(at: head + $0) }, Int(status))
        }
        // It may still come: the session stays, and the buffer goes with the lane.
        return nil
    }
}
