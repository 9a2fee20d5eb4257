@testable import Gateway

/// A file system in memory: what a test says is there, is there.
struct MemoryFiles: Sendable {
    var files: [String: (text: String, permissions: UInt32)] = [:]
    var failures: [String: Int32] = [:]

    var reader: FileReader {
        FileReader { [self] path, limit in
            if let number = failures[path] { return .failure(FileReader.Failure(errorNumber: number)) }
            guard let file = files[path] else { return .failure(FileReader.Failure(errorNumber: 2)) }
            precondition(file.text.utf8.count <= limit)
            return .success(FileReader.Contents(octets: Array(file.text.utf8), permissions: file.permissions))
        }
    }
}

/// Keys of the tests; their digits must not be in any text.
enum TestKeys {
    static let first = "0x" + String(repeating: "c0ffee15", count: 5)
    static let second = "0x" + String(repeating: "0dd5ea7b", count: 5)
    static let third = "0x" + String(repeating: "5eed1e55", count: 5)
    static let fourth = "0x" + String(repeating: "ba5eba11", count: 5)
    static let fifth = "0x" + String(repeating: "decafbad", count: 5)
    static let sixth = "0x" + String(repeating: "0b50e1e7", count: 5)

    /// Whether `text` holds 12 digits in a row of a key.
    static func leak(in text: String) -> Bool {
        let digits = Array(text.lowercased().utf8)
        guard digits.count >= 12 else { return false }
        return (0...digits.count - 12).contains { start in windows.contains(Array(digits[start..<start + 12])) }
    }

    private static let windows = Set(
        [first, second, third, fourth, fifth, sixth].flatMap { key in
            let digits = Array(key.utf8.dropFirst(2))
            return (0...digits.count - 12).map { Array(digits[$0..<$0 + 12]) }
        })
}

/// A site without a mistake, with every table there is.
let goodSite = """
    [gateway]
    name = "site-a"

    [dpdk]
    worker_cores = [1, 2]
    huge_pages = true
    memory_mib = 512
    eal_arguments = ["--log-level=5"]

    [[port]]
    name = "lan"
    role = "protected"
    device = "0000:03:00.0"
    addresses = ["10.0.1.1/24"]
    mtu_octets = 1400

    [[port]]
    name = "wan"
    role = "unprotected"
    device = "net_af_packet1,iface=wan"
    addresses = ["192.0.2.1/24", "192.0.2.3/24"]

    [[route]]
    destination = "198.51.100.0/24"
    via = "192.0.2.254"

    [[neighbor]]
    port = "wan"
    address = "192.0.2.254"
    mac = "02:00:00:00:00:fe"

    [[tunnel]]
    name = "site-b"
    local_address = "192.0.2.1"
    remote_address = "198.51.100.1"
    local_subnets = ["10.0.1.0/24"]
    remote_subnets = ["10.0.2.0/24"]
    offload = "auto"
    algorithm = "aes-128-gcm-16"
    mode = "tunnel"

    [tunnel.outbound]
    spi = 0x1001
    key = "\(TestKeys.first)"

    [tunnel.inbound]
    spi = 0x2001
    key = "\(TestKeys.second)"
    replay_window_packets = 2048

    [[tunnel.child]]
    not_before = 2027-01-01T01:00:00+01:00
    outbound = { spi = 0x1003, key = "\(TestKeys.fifth)" }

    [tunnel.child.inbound]
    spi = 0x2003
    key = "\(TestKeys.sixth)"
    replay_window_packets = 512

    [[tunnel]]
    name = "site-c"
    local_address = "192.0.2.3"
    remote_address = "192.0.2.9"
    local_subnets = ["10.0.1.0/24"]
    remote_subnets = ["10.0.3.0/24", "10.0.4.0/24"]
    soft_lifetime_packets = 1000000
    hard_lifetime_packets = 2000000
    hard_lifetime_seconds = 86400
    outbound = { spi = 0x1002, key = "\(TestKeys.third)" }
    inbound = { spi = 0x2002, key = "\(TestKeys.fourth)" }

    [[policy]]
    action = "bypass"
    direction = "outbound"
    source = "10.0.1.0/24"
    destination = "203.0.113.0/24"
    protocol = "udp"
    destination_ports = "500-510"
    priority = 10

    [[policy]]
    action = "protect"
    direction = "outbound"
    tunnel = "site-c"
    priority = 5

    """

/// Reads `text` as /etc/vpn-gw/site.toml with the given mode bits.
func readSite(
    _ text: String, mode: SiteReader.Mode = .check, permissions: UInt32 = 0o600, files: MemoryFiles = MemoryFiles(),
    credentials: String? = nil
) throws(ConfigurationError) -> SiteReader.Reading {
    var files = files
    files.files["/etc/vpn-gw/site.toml"] = (text, permissions)
    return try SiteReader(files: files.reader, credentials: CredentialsDirectory(credentials)).read(
        path: "/etc/vpn-gw/site.toml", mode: mode)
}

/// Every problem of `text`, whether it can be used or not.
func problems(
    of text: String, mode: SiteReader.Mode = .check, permissions: UInt32 = 0o600, files: MemoryFiles = MemoryFiles(),
    credentials: String? = nil
) -> [ConfigurationProblem] {
    do {
        return try readSite(text, mode: mode, permissions: permissions, files: files, credentials: credentials).problems
    } catch {
        return error.problems
    }
}
