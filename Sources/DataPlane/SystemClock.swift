import CDPDK

/// The machine's wall clock.
public enum SystemClock {
    /// Whether it follows another; nil when the kernel does not say.
    public static var isSynchronized: Bool? {
        switch cdpdk_clock_synchronized() {
        case 0: false
        case 1: true
        default: nil
        }
    }
}
