import Dispatch
import Synchronization
import Testing

@testable import Gateway

@Suite("Two parts of a start at the same time", .timeLimit(.minutes(1)))
struct TogetherTests {
    private struct Failure: Error, Equatable { let name: String }

    private final class Held: Sendable {}

    @Test("both have ended when it returns")
    func both() throws {
        let ended = Atomic(false)
        let (other, own) = try together(
            {
                ended.store(true, ordering: .relaxed)
                return 1
            }, { "own" })
        let hasEnded = ended.load(ordering: .relaxed)
        #expect(other == 1 && own == "own" && hasEnded)
    }

    @Test("each waits for what the other does")
    func atTheSameTime() throws {
        let there = DispatchSemaphore(value: 0), back = DispatchSemaphore(value: 0)
        _ = try together(
            {
                there.signal()
                back.wait()
            },
            {
                there.wait()
                back.signal()
            })
    }

    @Test("what one throws is thrown, the caller's first, and the other has ended all the same")
    func failures() {
        let own = Failure(name: "own"), other = Failure(name: "other"), count = Atomic(0)
        #expect(throws: other) { try together({ throw other }, { count.add(1, ordering: .relaxed) }) }
        #expect(throws: own) { try together({ _ = count.add(1, ordering: .relaxed) }, { throw own }) }
        #expect(throws: own) { try together({ throw other }, { throw own }) }
        let ended = count.load(ordering: .relaxed)
        #expect(ended == 2)
    }

    @Test("nothing of the work is held when it returns")
    func letsGo() throws {
        weak var seen: Held?
        do {
            let held = Held()
            seen = held
            _ = try together({ [held] in withExtendedLifetime(held) {} }, {})
        }
        #expect(seen == nil)
    }

    @Test("a gate lets through when it is open, and whoever waits for one that is closed is told")
    func gate() throws {
        let gate = Gate(), passed = Atomic(false)
        _ = try together(
            {
                try gate.pass()
                passed.store(true, ordering: .relaxed)
            },
            {
                let isEarly = passed.load(ordering: .relaxed)
                #expect(!isEarly)
                gate.open()
            })
        gate.close()
        try gate.pass()
        let closed = Gate()
        #expect(throws: Gate.Closed.self) { try together({ try closed.pass() }, { closed.close() }) }
        closed.open()
        #expect(throws: Gate.Closed.self) { try closed.pass() }
    }
}
