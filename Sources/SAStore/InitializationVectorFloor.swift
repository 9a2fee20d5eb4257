/// The IV below which a run does not start, by the clock.
///
/// A store that was rolled back (a restored backup, a cloned disk) forgets IVs that were used. The clock then still
/// keeps a key from repeating one, as long as it used fewer than 2^26 a second on average: it takes both, store and
/// clock, to be rolled back. RFC 4106 section 3.1 wants IVs unique for the life of the key.
public enum InitializationVectorFloor {
    /// 2020-01-01T00:00:00Z in seconds since 1970.
    private static let epoch: Int64 = 1_577_836_800
    /// IVs that a second leaves room for: 67 million, more than a core encrypts.
    private static let perSecond: UInt64 = 1 << 26

    /// (seconds since 2020-01-01T00:00:00Z) * 2^26. 0 for clocks before 2020; `UInt64.max`, at which the store gives
    /// out nothing, for clocks beyond what 64 bits hold.
    public static func at(_ secondsSince1970: Int64) -> UInt64 {
        guard secondsSince1970 > epoch else { return 0 }
        let (product, overflow) = UInt64(secondsSince1970 - epoch).multipliedReportingOverflow(by: perSecond)
        return overflow ? .max : product
    }
}
