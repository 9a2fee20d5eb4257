import Capture
import DataPlane
import Foundation
import IPsec

/// What an operator is shown of packets, from `start` to the last one asked for. The control plane has at most one.
struct ObservationSession {
    /// Without a question for so long, whoever asked is gone.
    static let patience = Duration.seconds(10)
    /// Records in one answer, and octets of packets about.
    static let recordLimit = 2048, octetLimit = 4 << 20

    let number: Int
    let request: ObserveRequest
    /// Who asked.
    let peer: String
    /// Packets shown so far.
    private(set) var shown = 0
    var askedAt = ContinuousClock.now
    private var hasBegunFile = false
    /// The worker's clock and the wall's, at one moment.
    private let anchor: (ticks: UInt64, nanoseconds: UInt64, perSecond: UInt64)

    init(number: Int, request: ObserveRequest, peer: String, clock: (ticks: UInt64, perSecond: UInt64)) {
        self.number = number
        self.request = request
        self.peer = peer
        let now = Date().timeIntervalSince1970
        anchor = (clock.ticks, UInt64(max(0, now) * 1_000_000_000), clock.perSecond)
    }

    /// Whether all that were asked for have been shown.
    var isOver: Bool { shown >= request.count }

    /// Nanoseconds since 1970.
    private func time(_ ticks: UInt64) -> UInt64 {
        let isLater = ticks >= anchor.ticks
        let distance = isLater ? ticks - anchor.ticks : anchor.ticks - ticks
        let nanoseconds = UInt64(Double(distance) / Double(max(1, anchor.perSecond)) * 1_000_000_000)
        return isLater ? anchor.nanoseconds &+ nanoseconds : anchor.nanoseconds - min(anchor.nanoseconds, nanoseconds)
    }

    /// Turns what workers have shown into an answer. `take` gives at most so many.
    mutating func answer(
        _ losses: (missed: UInt64, unlooked: UInt64), _ names: TracedPacket.Names, take: (Int) -> [Observation]
    ) -> ObservedPackets {
        askedAt = .now
        var seen = ObservedPackets(
            traced: [], blocks: [], count: 0, missed: losses.missed, unlooked: losses.unlooked, isOver: false)
        if request.kind != .trace && !hasBegunFile {
            hasBegunFile = true
            seen.blocks = ObservationSession.beginning(request)
        }
        while !isOver && seen.count < ObservationSession.recordLimit
            && seen.blocks.count < ObservationSession.octetLimit
        {
            let next = take(min(64, request.count - shown))
            if next.isEmpty { break }
            for one in next.sorted(by: { $0.record.ticks < $1.record.ticks }) { add(one, names, to: &seen) }
        }
        seen.isOver = isOver
        return seen
    }

    private mutating func add(_ one: Observation, _ names: TracedPacket.Names, to seen: inout ObservedPackets) {
        shown += 1
        seen.count += 1
        let nanoseconds = time(one.record.ticks)
        if request.kind == .trace {
            seen.traced.append(TracedPacket(one, time: ObservationSession.text(nanoseconds), names))
        } else {
            seen.blocks += ObservationSession.block(one, nanoseconds)
        }
    }

    /// "2027-01-01T00:00:00.123456789Z".
    private static func text(_ nanoseconds: UInt64) -> String {
        let fraction = String(nanoseconds % 1_000_000_000)
        let seconds = ControlTime(secondsSince1970: Int64(nanoseconds / 1_000_000_000))?.description ?? "Z"
        return "\(seconds.dropLast()).\(String(repeating: "0", count: 9 - fraction.count))\(fraction)Z"
    }

    /// The section, and an interface for each form that packets have.
    private static func beginning(_ request: ObserveRequest) -> [UInt8] {
        let port = request.port ?? "", snap = request.snapOctets
        let section = CaptureBlocks.section(program: "vpn-gw \(SoftwareVersion.text)")
        let isDropped = request.kind == .dropped
        return section
            + CaptureBlocks.interface(
                .ethernet, name: port,
                description: isDropped
                    ? "frames that came in and were dropped"
                    : "frames on the wire: before they are opened, after ESP or AH",
                snapOctets: snap)
            + CaptureBlocks.interface(
                .rawIP, name: isDropped ? "\(port)-later" : "\(port)-clear",
                description: isDropped
                    ? "packets that were dropped after they had waited, as they were then"
                    : "the packets inside this port's ESP and AH: after they were opened, before they are protected",
                snapOctets: snap)
    }

    private static func block(_ one: Observation, _ nanoseconds: UInt64) -> [UInt8] {
        let record = one.record
        let isIP = [.clearIn, .clearOut, .droppedPacket].contains(record.kind)
        let way: CaptureBlocks.Way? =
            switch record.kind {
            case .frameIn, .clearIn, .dropped: .inbound
            case .frameOut, .clearOut, .droppedFrame: .outbound
            case .droppedPacket, .trace: nil
            }
        let comment: String? =
            switch record.kind {
            case .clearIn: "after ESP or AH was opened"
            case .clearOut: "before ESP or AH"
            case .frameIn, .frameOut, .trace: nil
            case .dropped, .droppedPacket, .droppedFrame: record.reason.map { "\($0.name): \($0.help)" }
            }
        return CaptureBlocks.packet(
            interface: isIP ? 1 : 0, timestampNanoseconds: nanoseconds, one.received,
            originalCount: Int(record.receivedOctets), way: way, comment: comment)
    }
}
