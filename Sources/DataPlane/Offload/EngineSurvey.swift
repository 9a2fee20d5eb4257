import CDPDK
import IPsec

/// What a port's driver says of its IPsec engine, whether that is used or not.
public struct EngineSurvey: Sendable {
    /// DPDK's name of the driver.
    public var driver: String
    /// Whether it offers to do IPsec on what it receives, and on what it sends, with IPv4 checksums.
    public var receives: Bool, sends: Bool
    /// What it names; empty without an engine.
    public var capabilities: [SecurityCapability]
    /// What is known of the driver besides; nil: it is not used.
    public var rules: EngineRules?

    /// Of a port of DPDK's, which need not be started.
    init(port: UInt16) {
        var receives = false, sends = false, name = [CChar](repeating: 0, count: 64)
        unsafe cdpdk_security_offloads(port, &receives, &sends)
        unsafe cdpdk_port_driver(port, &name, UInt32(name.count))
        driver = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        (self.receives, self.sends) = (receives, sends)
        capabilities = unsafe cdpdk_security_context(port).map { unsafe SecurityCapability.of($0) } ?? []
        rules = EngineRules.of(driver: driver, version: DPDKVersion.text)
    }

    /// Of the device of a port, once the environment has started. Throws `.noDevice`.
    public static func of(_ port: Topology.Port) throws(DataPlaneError) -> EngineSurvey {
        let number = unsafe cdpdk_port_by_name(Environment.Settings.portName(port.device))
        guard number >= 0 else { throw .noDevice(port: port.name, device: port.device) }
        return EngineSurvey(port: UInt16(number))
    }

    /// Whether this gateway can use it.
    public var isUsable: Bool { receives && sends && rules != nil && capabilities.contains(where: \.isUsable) }

    /// SAs that it is given at most in a direction; nil where it is not used.
    public func slots(_ direction: Direction) -> Int? { isUsable ? rules?.usableSlots(direction) : nil }
}
