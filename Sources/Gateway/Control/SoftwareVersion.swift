/// Which vpn-gw this is.
public enum SoftwareVersion {
    /// Semantic versioning; "-dev" before the release of that number.
    public static let text = "0.1.0-dev"
}
