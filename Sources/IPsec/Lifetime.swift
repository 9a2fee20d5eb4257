/// How long an SA may be used (RFC 4301 section 4.4.2.1): the soft limit says that it is time for the next one, at the
/// hard limit it ends. What is nil is not limited.
public struct Lifetime: Hashable, Sendable {
    /// Limits of one kind; an SA reaches them when the first of the three is reached.
    public struct Limits: Hashable, Sendable {
        /// Packets sent or accepted.
        public var packets: UInt64?
        /// Inner octets sent or accepted.
        public var octets: UInt64?
        /// Seconds since the SA was installed for the first time.
        public var seconds: UInt64?

        /// Limits; none by default.
        public init(packets: UInt64? = nil, octets: UInt64? = nil, seconds: UInt64? = nil) {
            self.packets = packets
            self.octets = octets
            self.seconds = seconds
        }

        /// Whether nothing is limited.
        public var isEmpty: Bool { packets == nil && octets == nil && seconds == nil }
    }

    /// When somebody should know.
    public var soft: Limits
    /// When it ends.
    public var hard: Limits

    /// A lifetime; without end by default.
    public init(soft: Limits = Limits(), hard: Limits = Limits()) {
        self.soft = soft
        self.hard = hard
    }

    /// Whether nothing is limited.
    public var isEmpty: Bool { soft.isEmpty && hard.isEmpty }
}
