import CIPsecMB
import Synchronization

/// Slots of one size for secrets, cut from slabs that are out of core dumps. A slot is wiped when it is given back.
///
/// A page for each secret would be a mapping for each, of which the kernel allows 65530, and would put all of them into
/// the same few sets of the caches: slots of a slab lie one behind the other. Slabs are made when they are needed and
/// go with the last reference to this. Each is as large as all before it, up to a huge page: a gateway of 100 000 SAs
/// then faults in and looks up 50 pages and not 25 000. Any thread may take and give back.
@safe
final class SecretSlabs: Sendable {
    /// Where a slot lies, at a 64-octet boundary.
    @safe
    struct Slot: @unchecked Sendable {
        let start: UnsafeMutableRawPointer
    }

    private struct Slab {
        let first: Slot, slots: Int
    }

    private struct State {
        var slabs: [Slab] = []
        /// Those that nobody has; the next one is the last.
        var free: [Slot] = []
    }

    /// A multiple of 64.
    let slotOctets: Int
    private let firstSlots: Int
    private let mostSlots: Int
    private let state = Mutex(State())

    /// Slots for `octets` each, so many in the first slab.
    init(octets: Int, firstSlots: Int) {
        precondition(octets > 0 && firstSlots > 0)
        slotOctets = (octets + 63) / 64 * 64
        self.firstSlots = firstSlots
        mostSlots = max(firstSlots, Int(CIPSECMB_HUGE_PAGE_OCTETS) / slotOctets)
    }

    deinit {
        state.withLock { state in
            for slab in state.slabs { unsafe cipsecmb_secret_free(slab.first.start, slotOctets * slab.slots) }
        }
    }

    /// A slot of zeros, the caller's until `release`; nil without memory.
    func take() -> Slot? {
        state.withLock { state in
            if let slot = state.free.popLast() { return slot }
            let slots = min(max(firstSlots, state.slabs.reduce(0) { $0 + $1.slots }), mostSlots)
            guard let slab = unsafe cipsecmb_secret_create(slotOctets * slots) else { return nil }
            unsafe state.slabs.append(Slab(first: Slot(start: slab), slots: slots))
            for index in (1..<slots).reversed() { unsafe state.free.append(Slot(start: slab + index * slotOctets)) }
            return unsafe Slot(start: slab)
        }
    }

    /// Wipes a slot, which nobody looks at any more, and keeps it for the next.
    func release(_ slot: Slot) {
        unsafe imb_clear_mem(slot.start, slotOctets)
        state.withLock { $0.free.append(slot) }
    }
}
