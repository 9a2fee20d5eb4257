import SeededRandom
import Testing
import Wire

@testable import DataPlane

// RFC 791 3.2, RFC 815, RFC 8200 4.5, RFC 5722
extension OnDPDK {
    @Suite("Reassembly")
    struct FragmentTableTests {
        init() throws { try TestEnvironment.start() }

        @Test("two fragments make a whole, in either order", arguments: [4, 6], [false, true])
        func pair(family: Int, isReversed: Bool) throws {
            let bench = try FragmentBench()
            defer { bench.end() }
            let piece = Piece(family: family, identification: 7)
            let parts = [piece.part(0..<16, more: true), piece.part(16..<21, more: false)]
            let order = isReversed ? [parts[1], parts[0]] : parts
            #expect(bench.take(order[0]) == .held)
            #expect(bench.take(order[1]) == .whole(piece.whole(21), merged: 1))
            #expect(bench.held == 0 && bench.lost == 0)
        }

        /// Cut by scapy behind hop-by-hop options.
        @Test("IPv6 fragments of scapy's")
        func scapy() throws {
            let bench = try FragmentBench()
            defer { bench.end() }
            let addresses = "20010db8000100000000000000000001 20010db8000200000000000000000002"
            let data = [UInt8](0..<100)
            let first = hex("6000000000400040" + addresses + "2c00050200000100 1100000101020304 00010002006c07ce")
            let middle = hex("6000000000400040" + addresses + "2c00050200000100 1100003101020304")
            let last = hex("60000000001c0040" + addresses + "2c00050200000100 1100006001020304")
            #expect(bench.take(middle + data[40..<88]) == .held)
            #expect(bench.take(last + data[88...]) == .held)
            let whole = hex("6000000000740040" + addresses + "1100050200000100 00010002006c07ce") + data
            #expect(bench.take(first + data[..<40]) == .whole(whole, merged: 2))
        }

        @Test("packets that are no fragments pass, and atomic fragments lose their header")
        func wholes() throws {
            let bench = try FragmentBench()
            defer { bench.end() }
            let piece = Piece(family: 6, identification: 7)
            #expect(bench.take(piece.whole(30)) == .whole(piece.whole(30), merged: 0))
            #expect(bench.take(piece.part(0..<30, more: false)) == .whole(piece.whole(30), merged: 0))
            let other = Piece(family: 4, identification: 7)
            #expect(bench.take(other.whole(30)) == .whole(other.whole(30), merged: 0))
            // It has nothing to do with fragments of the same identification.
            #expect(bench.take(piece.part(0..<16, more: true)) == .held)
            #expect(bench.take(piece.part(0..<30, more: false)) == .whole(piece.whole(30), merged: 0))
            #expect(bench.take(piece.part(16..<30, more: false)) == .whole(piece.whole(30), merged: 1))
        }

        @Test("keys that differ in anything don't mix")
        func keys() throws {
            let bench = try FragmentBench()
            defer { bench.end() }
            let piece = Piece(family: 4, identification: 7)
            var others = [piece, piece, piece, piece]
            others[0].identification = 8
            others[1].source += 1
            others[2].destination += 1
            others[3].upper = 51
            #expect(bench.take(piece.part(0..<16, more: true)) == .held)
            for other in others { #expect(bench.take(other.part(16..<21, more: false)) == .held) }
            #expect(bench.take(piece.part(16..<21, more: false)) == .whole(piece.whole(21), merged: 1))
        }

        // RFC 8200 4.5: only the first fragment's word on what comes next counts.
        @Test("IPv6 fragments may differ in what comes next")
        func nextHeaders() throws {
            let bench = try FragmentBench()
            defer { bench.end() }
            let piece = Piece(family: 6, identification: 7)
            var other = piece
            other.upper = 60
            #expect(bench.take(other.part(16..<21, more: false)) == .held)
            #expect(bench.take(piece.part(0..<16, more: true)) == .whole(piece.whole(21), merged: 1))
        }

        // RFC 5722 4
        @Test(
            "an overlap spoils the datagram, later fragments too", arguments: [4, 6],
            [(8..<24, true), (16..<24, true), (0..<8, true), (16..<20, false), (24..<32, true), (40..<48, false)])
        func overlaps(family: Int, bad: (Range<Int>, Bool)) throws {
            let bench = try FragmentBench()
            defer { bench.end() }
            let piece = Piece(family: family, identification: 7)
            #expect(bench.take(piece.part(0..<16, more: true)) == .held)
            #expect(bench.take(piece.part(24..<30, more: false)) == .held)
            var expected = FragmentBench.Outcome.refused
            // This one is an honest gap's filling.
            if bad.0 == 16..<24 { expected = .whole(piece.whole(30), merged: 2) }
            let outcome = bench.take(piece.part(bad.0, more: bad.1))
            #expect(outcome == expected)
            guard outcome == .refused else { return }
            #expect(bench.held == 0 && bench.lost == 3)
            #expect(bench.take(piece.part(0..<16, more: true)) == .refused)
            #expect(bench.take(piece.part(16..<24, more: true)) == .refused)
            #expect(bench.take(piece.part(24..<30, more: false)) == .refused)
            // Until its time is over.
            #expect(bench.take(piece.part(0..<16, more: true), now: 2000) == .held)
        }

        @Test("an exact duplicate goes alone; one with other octets spoils", arguments: [4, 6])
        func duplicates(family: Int) throws {
            let bench = try FragmentBench()
            defer { bench.end() }
            let piece = Piece(family: family, identification: 7)
            #expect(bench.take(piece.part(0..<16, more: true)) == .held)
            #expect(bench.take(piece.part(0..<16, more: true)) == .refused)
            #expect(bench.held == 1 && bench.lost == 1)
            #expect(bench.take(piece.part(24..<30, more: false)) == .held)
            #expect(bench.take(piece.part(24..<30, more: false)) == .refused)
            #expect(bench.held == 2)
            var lie = piece.part(0..<16, more: true)
            lie[lie.count - 1] ^= 1
            #expect(bench.take(lie) == .refused)
            #expect(bench.held == 0 && bench.lost == 5)
        }

        @Test("fragments that can't be part of anything are refused alone", arguments: [4, 6])
        func malformed(family: Int) throws {
            let bench = try FragmentBench()
            defer { bench.end() }
            let piece = Piece(family: family, identification: 7)
            #expect(bench.take(piece.part(0..<16, more: true)) == .held)
            #expect(bench.take(piece.part(16..<23, more: true)) == .refused)
            #expect(bench.take(piece.part(16..<16, more: true)) == .refused)
            #expect(bench.take(piece.part(16..<16, more: false)) == .refused)
            #expect(bench.take(piece.part(65_528..<65_544, more: false)) == .refused)
            #expect(bench.take([]) == .refused)
            #expect(bench.take([UInt8](piece.part(16..<24, more: true).dropLast())) == .refused)
            #expect(bench.held == 1)
            #expect(bench.take(piece.part(16..<21, more: false)) == .whole(piece.whole(21), merged: 1))
        }

        @Test("what would be longer than a buffer is refused", arguments: [4, 6])
        func tooLong(family: Int) throws {
            let bench = try FragmentBench()
            defer { bench.end() }
            let piece = Piece(family: family, identification: 7)
            let header = family == 4 ? 20 : 40, most = FragmentBench.wholeLimit - header
            #expect(bench.take(piece.part(0..<1000, more: true)) == .held)
            #expect(bench.take(piece.part(1000..<most + 1, more: false)) == .refused)
            #expect(bench.take(piece.part(1000..<most, more: false)) == .whole(piece.whole(most), merged: 1))
        }

        @Test("a datagram of as many fragments as there may be, and of one more", arguments: [4, 6])
        func fragmentLimit(family: Int) throws {
            let bench = try FragmentBench()
            defer { bench.end() }
            let limit = FragmentTable.fragmentLimit
            for count in [limit, limit + 1] {
                let piece = Piece(family: family, identification: UInt32(count))
                for number in (1..<count).reversed() {
                    let part = piece.part(8 * number..<8 * number + 8, more: number < count - 1)
                    #expect(bench.take(part) == .held)
                }
                let last = bench.take(piece.part(0..<8, more: true))
                #expect(last == (count == limit ? .whole(piece.whole(8 * limit), merged: limit - 1) : .refused))
                #expect(bench.held == 0 && bench.lost == (count == limit ? 0 : limit + 1))
            }
        }

        @Test("what waits longer than two seconds is given up, by housekeeping and by a new fragment")
        func expiry() throws {
            let bench = try FragmentBench()
            defer { bench.end() }
            let piece = Piece(family: 4, identification: 7)
            #expect(bench.take(piece.part(0..<16, more: true), now: 5000) == .held)
            bench.expire(now: 6999)
            #expect(bench.held == 1)
            bench.expire(now: 7000)
            #expect(bench.held == 0 && bench.lost == 1)
            #expect(bench.take(piece.part(0..<16, more: true), now: 8000) == .held)
            #expect(bench.take(piece.part(16..<21, more: false), now: 9999) == .whole(piece.whole(21), merged: 1))
            #expect(bench.take(piece.part(0..<16, more: true), now: 10_000) == .held)
            #expect(bench.take(piece.part(16..<21, more: false), now: 12_000) == .held)
            #expect(bench.lost == 2 && bench.held == 1)
        }

        @Test("a source's flood pushes out its own oldest, and nobody else's")
        func flood() throws {
            let bench = try FragmentBench()
            defer { bench.end() }
            // A victim of another set than the flood's: of 64 addresses some are.
            var flood = Piece(family: 4, identification: 0)
            flood.source = 0x0a00_0001
            let victims = (0..<64).map { Piece(family: 4, identification: 7, source: 0x0b00_0000 + $0 * 0x101) }
            for victim in victims { #expect(bench.take(victim.part(0..<16, more: true)) == .held) }
            let before = bench.held
            for number in 0..<5000 {
                flood.identification = UInt32(number)
                #expect(bench.take(flood.part(0..<16, more: true), now: UInt64(number / 5)) == .held)
            }
            #expect(bench.held <= before + FragmentTable.setDatagrams && bench.held < FragmentTable.datagramLimit)
            let whole = victims.count { bench.take($0.part(16..<21, more: false)) == .whole($0.whole(21), merged: 1) }
            #expect(whole >= 48, "\(whole) of 64 outlived a flood of one source")
            // The flood's latest are there, its oldest are not.
            flood.identification = 4999
            #expect(bench.take(flood.part(16..<21, more: false)) == .whole(flood.whole(21), merged: 1))
            flood.identification = 0
            #expect(bench.take(flood.part(16..<21, more: false)) == .held)
        }

        @Test("buffers have a limit for each source too, and the oldest datagram makes room")
        func buffers() throws {
            let bench = try FragmentBench()
            defer { bench.end() }
            for identification in 0..<8 as Range<UInt32> {
                let piece = Piece(family: 4, identification: identification)
                for number in 1...30 {
                    let part = piece.part(8 * number..<8 * number + 8, more: true)
                    #expect(bench.take(part, now: UInt64(identification)) == .held)
                    #expect(bench.held <= FragmentTable.bufferLimit / 16)
                }
            }
            #expect(bench.held == 60 && bench.lost == 180)
        }

        // RFC 3168 5.3
        @Test(
            "congestion marks", arguments: [4, 6],
            [(2, 3, 3), (3, 2, 3), (1, 3, 3), (0, 0, 0), (2, 2, 2), (0, 3, nil), (3, 0, nil), (1, 2, 1)]
                as [(UInt8, UInt8, UInt8?)])
        func marks(family: Int, marks: (UInt8, UInt8, UInt8?)) throws {
            let bench = try FragmentBench()
            defer { bench.end() }
            var first = Piece(family: family, identification: 7), second = first
            first.mark = marks.0
            second.mark = marks.1
            #expect(bench.take(second.part(16..<21, more: false)) == .held)
            let outcome = bench.take(first.part(0..<16, more: true))
            first.mark = marks.2 ?? 0
            #expect(outcome == (marks.2 == nil ? .refused : .whole(first.whole(21), merged: 1)))
            #expect(bench.lost == (marks.2 == nil ? 2 : 0))
        }
    }
}
