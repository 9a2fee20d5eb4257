import Testing

@testable import Wire

@Suite("Packet bytes")
struct PacketBytesTests {
    @Test("numbers are in network order, words as they lie in memory")
    func loads() {
        var octets: [UInt8] = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08]
        octets.withPacketBytes { bytes in
            #expect(bytes.count == 9)
            #expect(bytes.uint8(at: 8) == 8)
            #expect(bytes.uint16(at: 1) == 0x0102)
            #expect(bytes.uint32(at: 1) == 0x0102_0304)
            #expect(bytes.uint64(at: 1) == 0x0102_0304_0506_0708)
            #expect(bytes.word16(at: 1) == UInt16(bigEndian: 0x0102))
            #expect(bytes.word32(at: 1) == UInt32(bigEndian: 0x0102_0304))
            #expect(bytes.word64(at: 1) == UInt64(bigEndian: 0x0102_0304_0506_0708))
            #expect(bytes.array == [0, 1, 2, 3, 4, 5, 6, 7, 8])
        }
    }

    @Test("stores write their octets and no other")
    func stores() {
        #expect(emitted(3) { $0.store(0x01 as UInt8, at: 1) } == octets("a5 01 a5"))
        #expect(emitted(4) { $0.store(0x0102 as UInt16, at: 1) } == octets("a5 0102 a5"))
        #expect(emitted(6) { $0.store(0x0102_0304 as UInt32, at: 1) } == octets("a5 01020304 a5"))
        #expect(emitted(10) { $0.store(0x0102_0304_0506_0708 as UInt64, at: 1) } == octets("a5 0102030405060708 a5"))
        #expect(emitted(4) { $0.store(word: UInt16(bigEndian: 0x0102), at: 1) } == octets("a5 0102 a5"))
        #expect(emitted(6) { $0.store(word: UInt32(bigEndian: 0x0102_0304), at: 1) } == octets("a5 01020304 a5"))
        #expect(
            emitted(10) { $0.store(word: UInt64(bigEndian: 0x0102_0304_0506_0708), at: 1) }
                == octets("a5 0102030405060708 a5"))
    }

    @Test("windows within a window")
    func windows() {
        var octets: [UInt8] = [0, 1, 2, 3, 4]
        octets.withPacketBytes { bytes in
            #expect(bytes.dropFirst(2).array == [2, 3, 4])
            #expect(bytes.prefix(2).array == [0, 1])
            #expect(bytes.dropFirst(1).prefix(3).dropFirst(1).array == [2, 3])
            #expect(bytes.dropFirst(5).count == 0)
            #expect(bytes.prefix(0).count == 0)
        }
    }

    @Test("copies, over itself too")
    func copies() {
        var octets: [UInt8] = [0, 1, 2, 3, 4, 5]
        octets.withPacketBytes { bytes in
            bytes.copy(bytes, count: 4, to: 2)
            #expect(bytes.array == [0, 1, 0, 1, 2, 3])
            bytes.copy(bytes.dropFirst(2), count: 4, to: 0)
            #expect(bytes.array == [0, 1, 2, 3, 2, 3])
            bytes.copy(bytes, count: 0, to: 6)
            #expect(bytes.array == [0, 1, 2, 3, 2, 3])
        }
    }

    @Test("an empty array has a window of nothing")
    func empty() {
        var octets: [UInt8] = []
        octets.withPacketBytes { bytes in
            #expect(bytes.count == 0 && bytes.array.isEmpty)
            #expect(InternetChecksum.sum(bytes) == 0)
        }
    }

    // One process for each, so sparingly. The windows lie inside of larger arrays: an access that is let through does
    // no harm and the process ends well, which fails the test.
    @Test("a load beyond the end traps")
    func trapsBehind() async {
        await #expect(processExitsWith: .failure) {
            var octets = [UInt8](repeating: 0, count: 16)
            octets.withPacketBytes { _ = $0.prefix(8).uint32(at: 5) }
        }
    }

    @Test("a store before the start traps")
    func trapsBefore() async {
        await #expect(processExitsWith: .failure) {
            var octets = [UInt8](repeating: 0, count: 16)
            octets.withPacketBytes { $0.dropFirst(8).store(0 as UInt8, at: -1) }
        }
    }

    @Test("an offset so large that its end wraps around traps")
    func trapsWhereTheEndWraps() async {
        await #expect(processExitsWith: .failure) {
            var octets = [UInt8](repeating: 0, count: 16)
            octets.withPacketBytes { $0.check(Int.max - 3, 8) }
        }
    }

    @Test("a part longer than its window traps")
    func trapsLongerPart() async {
        await #expect(processExitsWith: .failure) {
            var octets = [UInt8](repeating: 0, count: 16)
            octets.withPacketBytes { _ = $0.prefix(8).prefix(9) }
        }
    }
}
