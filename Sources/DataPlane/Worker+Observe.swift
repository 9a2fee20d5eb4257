// What somebody who looks at packets is shown: all of it out of line, reached by one test of a flag in a burst, and not
// there when nobody looks. It allocates nothing either: records are made where the reader finds them.

import CDPDK
import ESP
import IPsec
import Wire

extension Worker {
    /// Goes over to the ring that is wanted, or to none.
    @inline(never)
    mutating func adoptObserver() {
        observerAddress = observations.adopt()
        observer = ObservationRing(address: observerAddress)
        isObserved = observer != nil
        lookedAtDropped = dropped.count
    }

    /// A burst that has come in, while somebody looks.
    @inline(never)
    mutating func takeObserved(port: Int) {
        guard let observer else { return }
        switch observer.plan.kind {
        case .trace where mayTrace(frames.count): return trace(on: port)
        case .trace:
            observer.passUnlooked(frames.count)
        case .capture where port == Int(observer.plan.port):
            var index = 0
            while index < frames.count {
                show(frames[index].bytes, as: .frameIn)
                index &+= 1
            }
        case .dropped where port == Int(observer.plan.port): keepOriginals(observer)
        case .capture, .dropped: break
        }
        if ports[port].isPunt { receivePunted(on: port) } else { receive(on: port) }
        finishObserved()
        showDropped()
        originals.removeAll()
    }

    /// As `finishPass`, with the clear text of what was opened.
    @inline(never)
    mutating func finishObserved() {
        if leavingCount > 0 { sendLeaving() }
        if inbound.count > 0 { openInbound() }
        if outside.count > 0 { admitOutside() }
        showOpened()
        if inside.count > 0 { forwardInside() }
        if originated.count > 0 {
            swap(&inside, &originated)
            forwardInside()
        }
    }

    private mutating func showOpened() {
        guard let observer, observer.plan.kind == .capture else { return }
        var index = 0
        while index < inside.count {
            if inside[index].tunnel != PacketSlot.noTunnel && inside[index].ingress == observer.plan.port {
                show(inside[index].ip, as: .clearIn)
            }
            index &+= 1
        }
    }

    /// What is about to be protected.
    @inline(never)
    mutating func showUnprotected() {
        guard let observer, observer.plan.kind == .capture else { return }
        var index = 0
        while index < outbound.count {
            let nextHop = Int(sending[index].nextHop)
            if neighbors.entries[nextHop].port == observer.plan.port {
                show(sending[index].mbuf.bytes, as: .clearOut)
            }
            index &+= 1
        }
    }

    /// Offers a port its queue, and shows what it took: afterwards the frames may be gone.
    @inline(never)
    mutating func transmitObserved(_ port: Int) -> Int {
        guard let observer, observer.plan.kind == .capture, port == Int(observer.plan.port) else {
            return queues[port].transmit(port: ports[port].id, queue: ports[port].txQueue)
        }
        var made = 0
        while made < queues[port].count, let slot = observer.next(ahead: made) {
            fill(slot, queues[port][made].bytes, .frameOut)
            made &+= 1
        }
        let sent = queues[port].transmit(port: ports[port].id, queue: ports[port].txQueue)
        observer.publish(min(made, sent))
        observer.miss(max(0, sent &- made))
        return sent
    }

    private mutating func show(_ bytes: PacketBytes, as kind: ObservationRecord.Kind, _ reason: DropReason? = nil) {
        guard let observer else { return }
        guard let slot = observer.next() else { return observer.miss() }
        fill(slot, bytes, kind, reason)
        observer.publish()
    }

    private mutating func fill(
        _ slot: ObservationSlot, _ bytes: PacketBytes, _ kind: ObservationRecord.Kind, _ reason: DropReason? = nil
    ) {
        var record = ObservationRecord()
        record.kind = kind
        record.ticks = now
        record.reasonNumber = reason?.rawValue ?? 0
        record.port = observer?.plan.port ?? .max
        record.receivedOctets = UInt32(bytes.count)
        record.receivedCount = slot.keep(bytes, in: 0)
        slot.record = record
    }

    // MARK: Drops

    /// Keeps the frames of a burst as they came: a dropped one may have been opened in place.
    private mutating func keepOriginals(_ observer: ObservationRing) {
        var index = 0
        while index < frames.count {
            fill(observer.original(index), frames[index].bytes, .dropped)
            originals.append(frames[index])
            index &+= 1
        }
    }

    /// Shows what was dropped since it was asked last: what came with this burst as it came, others as they are.
    @inline(never)
    mutating func showDropped() {
        guard let observer else { return }
        while lookedAtDropped < dropped.count {
            let mbuf = dropped[lookedAtDropped], reason = reasons[lookedAtDropped]
            lookedAtDropped &+= 1
            switch observer.plan.kind {
            case .capture: break
            case .trace: traceDropped(mbuf, reason)
            case .dropped:
                if let place = placeAmongOriginals(mbuf) {
                    let original = observer.original(place), record = original.record
                    guard let slot = observer.next() else {
                        observer.miss()
                        continue
                    }
                    var copy = record
                    copy.reasonNumber = reason.rawValue
                    copy.receivedCount = slot.keep(original.kept(Int(record.receivedCount), in: 0), in: 0)
                    slot.record = copy
                    observer.publish()
                } else if mbuf.isOriginated || mbuf.port == ports[Int(observer.plan.port)].id {
                    show(mbuf.bytes, as: reason == .txFull ? .droppedFrame : .droppedPacket, reason)
                }
            }
        }
    }

    private mutating func placeAmongOriginals(_ mbuf: Mbuf) -> Int? {
        var index = 0
        while index < originals.count {
            if originals[index].isSame(as: mbuf) { return index }
            index &+= 1
        }
        return nil
    }
}
