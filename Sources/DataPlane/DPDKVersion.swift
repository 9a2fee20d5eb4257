import CDPDK

/// Which DPDK this process uses, without starting it.
public enum DPDKVersion {
    /// Of the library that is loaded: "DPDK 22.11.4".
    public static var text: String { unsafe String(cString: rte_version()) }
    /// Where it looks for drivers: those of the version that this program was built with.
    public static let driverDirectory: String = RTE_EAL_PMD_PATH
}
