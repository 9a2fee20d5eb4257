// Anti-replay of one inbound SA. Read first: RFC 4303 section 3.4.3 (what must be refused, and when the window may
// move) and RFC 6479 (a ring of words needs no shifting).
//
//          highest - size                   highest
//                |                             |
//      late <----|  replayed, or fresh (1 bit) |----> fresh, and moves the window
//
// Two calls, because only an authentic packet may leave a trace: `check` before its ICV is verified, `mark` after. A
// burst checks all of its packets, opens them, and then marks one by one; of two copies in one burst both pass the
// check and only the first passes the mark.

import CIPsecMB
import IPsec

/// The sequence numbers that one inbound SA has accepted: exactly the last `size`, each once, and anything above.
///
/// Owned by one worker. Takes `size / 4` octets once; nothing later.
@safe
public struct ReplayWindow: ~Copyable {
    /// Smallest and largest window, in packets.
    public static let sizes: ClosedRange<Int> = 64...8192

    /// Packets in the window.
    public let size: UInt64
    /// The highest number marked; 0 before the first packet (ESP counts from 1).
    public private(set) var highest: UInt64 = 0

    // The ring is twice the window: its length is a power of two, and the word being cleared ahead of `highest` never
    // holds a number still inside the window.
    private let words: UnsafeMutablePointer<UInt64>
    private let wordMask: UInt64

    /// A window in which every number up to `behind` counts as taken. Traps unless `size` is a power of two within
    /// `sizes`.
    public init(size: Int, behind: UInt64 = 0) {
        precondition(ReplayWindow.sizes.contains(size) && size & (size - 1) == 0)
        self.size = UInt64(size)
        let count = size / 32
        wordMask = UInt64(count - 1)
        unsafe words = .allocate(capacity: count)
        unsafe words.initialize(repeating: behind == 0 ? 0 : .max, count: count)
        highest = behind
        // Numbers above it are fresh even where they share its word.
        if behind > 0 { unsafe words[wordIndex(behind)] = .max >> (63 - (behind & 63)) }
    }

    deinit { unsafe words.deallocate() }

    /// Could `number` be legitimate? Nil if so; `.late` or `.replayed` if not. Changes nothing.
    @inline(__always)
    public func check(_ number: UInt64) -> DropReason? {
        if number > highest { return nil }
        // number <= highest, so the subtraction can't wrap.
        if highest &- number >= size { return .late }
        return unsafe words[wordIndex(number)] & bit(number) == 0 ? nil : .replayed
    }

    /// Fetches what `mark` will change.
    @inline(__always)
    func fetch(_ number: UInt64) { unsafe cipsecmb_prefetch(words + wordIndex(number)) }

    /// Remembers the number of an authentic packet. Nil if it was fresh; what `check` says now if it was not.
    @inline(__always)
    public mutating func mark(_ number: UInt64) -> DropReason? {
        if let refused = check(number) { return refused }
        if number > highest { advance(to: number) }
        unsafe words[wordIndex(number)] |= bit(number)
        return nil
    }

    /// Clears the words that the right edge passes; a jump beyond the whole ring clears each of them once.
    @inline(__always)
    private mutating func advance(to number: UInt64) {
        let first = highest / 64 &+ 1
        let steps = min(number / 64 &+ 1 &- first, wordMask &+ 1)
        var step: UInt64 = 0
        while step < steps {
            unsafe words[Int((first &+ step) & wordMask)] = 0
            step &+= 1
        }
        highest = number
    }

    @inline(__always)
    private func wordIndex(_ number: UInt64) -> Int { Int(number / 64 & wordMask) }
    @inline(__always)
    private func bit(_ number: UInt64) -> UInt64 { 1 &<< (number & 63) }
}
