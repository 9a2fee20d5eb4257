/// What `vpn-gw pcap` was asked to do.
public struct ReplayOptions: Sendable {
    /// A capture file and the port it belongs to.
    public struct PortFile: Sendable, Hashable {
        /// Name of the port.
        public var port: String
        /// Path of the file.
        public var path: String

        /// Reads "PORT=FILE". Nil without a port name, an equals sign and a file name.
        public init?(_ argument: String) {
            guard let equals = argument.firstIndex(of: "=") else { return nil }
            port = String(argument[..<equals])
            path = String(argument[argument.index(after: equals)...])
            if port.isEmpty || path.isEmpty { return nil }
        }
    }

    /// What comes in, by port.
    public var inputs: [PortFile]
    /// Where what leaves is written, by port.
    public var outputs: [PortFile]
    /// Where the report goes; nil for nowhere.
    public var reportPath: String?
    /// Where dropped packets go; nil for nowhere.
    public var dropsPath: String?
    /// Real ARP in place of the placeholder address.
    public var resolve: Bool

    /// Options.
    public init(
        inputs: [PortFile], outputs: [PortFile], reportPath: String? = nil, dropsPath: String? = nil,
        resolve: Bool = false
    ) {
        self.inputs = inputs
        self.outputs = outputs
        self.reportPath = reportPath
        self.dropsPath = dropsPath
        self.resolve = resolve
    }
}

/// What keeps a replay from running, in words for the operator.
public enum ReplayError: Error, CustomStringConvertible, Sendable {
    /// A port of --in or --out that the site does not have.
    case unknownPort(String, known: [String])
    /// A port named twice in --out.
    case portTwice(String)
    /// The report could not be written.
    case reportUnwritable(path: String, reason: String)
    /// Packets are not accounted for: a bug of ours.
    case notConserved

    /// One line with what to do about it.
    public var description: String {
        switch self {
        case .unknownPort(let name, let known):
            "the site has no port \"\(name)\"; its ports are \(known.joined(separator: ", "))"
        case .portTwice(let name): "--out names port \"\(name)\" twice; what leaves by a port goes to one file"
        case .reportUnwritable(let path, let reason): "\(path): can't be written: \(reason)"
        case .notConserved: "packets are not accounted for; this is a bug of vpn-gw's: keep the captures and report it"
        }
    }

    /// The process's exit code.
    public var exitCode: ExitCode {
        switch self {
        case .unknownPort, .portTwice: .usage
        case .reportUnwritable: .cannotCreate
        case .notConserved: .software
        }
    }
}
