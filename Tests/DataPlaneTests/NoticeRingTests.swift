import Dispatch
import IPsec
import Testing

@testable import DataPlane

@Suite("What workers tell the control plane")
struct NoticeRingTests {
    private func notice(_ number: Int) -> WorkerNotice {
        .pathMTU(spi: UInt32(number), association: number, octets: 600)
    }

    @Test("in order, each once, and no more than there is room for")
    func order() {
        let ring = NoticeRing()
        for round in 0..<5 {
            for number in 0..<NoticeRing.capacity { #expect(ring.post(notice(round * 1000 + number))) }
            #expect(!ring.post(notice(1)))
            var taken: [WorkerNotice] = []
            ring.take { taken.append($0) }
            #expect(taken == (0..<NoticeRing.capacity).map { notice(round * 1000 + $0) })
            ring.take { _ in Issue.record("taken twice") }
        }
    }

    @Test("a reader beside the writer misses nothing")
    func threads() {
        let ring = NoticeRing(), count = 100_000, done = DispatchSemaphore(value: 0)
        DispatchQueue.global().async {
            for number in 0..<count { while !ring.post(notice(number)) {} }
            done.signal()
        }
        var next = 0
        while next < count {
            ring.take { taken in
                #expect(taken == notice(next))
                next += 1
            }
        }
        done.wait()
    }

    @Test("addresses of both families come back as they were")
    func addresses() throws {
        for text in ["192.0.2.7", "2001:db8::7"] {
            let address = try #require(IPAddress(text))
            let told = WorkerNotice.peerMoved(spi: 1, association: 2, to: address, port: 4500)
            #expect(told.peerAddress == address && told.port == 4500)
        }
    }
}
