/// Who a machine is, so that a state directory that was copied to another one is noticed.
///
/// It is there to catch an accident, not an attacker: a hash without a secret (FNV-1a, 128 bits) of /etc/machine-id,
/// which machine-id(5) asks programs not to pass on as it is. Machines cloned with their machine-id look the same; what
/// then protects the keys is the clock's floor of the IVs.
public struct MachineIdentity: Hashable, Sendable, CustomStringConvertible {
    /// 32 lowercase hexadecimal digits.
    public let description: String

    /// The machine with this machine-id: 32 lowercase hexadecimal digits, blanks around them left out. Nil for
    /// anything else: no machine has it, as before its first boot ("uninitialized").
    public init?(machineID text: String) {
        let digits = text.split(whereSeparator: \.isWhitespace)
        guard digits.count == 1, let id = digits.first, id.utf8.count == 32,
            id.utf8.allSatisfy({ ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x61 && $0 <= 0x66) }),
            id.contains(where: { $0 != "0" })
        else { return nil }
        var hash: UInt128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d
        for octet in ("vpn-gw state store, machine " + id).utf8 {
            hash = (hash ^ UInt128(octet)) &* (1 << 88 + 0x13b)
        }
        let text = String(hash, radix: 16)
        description = String(repeating: "0", count: 32 - text.count) + text
    }

    /// This machine, by its /etc/machine-id. Nil where there is none, as in many containers.
    public static func current() -> MachineIdentity? {
        guard let octets = try? StateDirectory.read("/etc/machine-id", limit: 4096) else { return nil }
        return MachineIdentity(machineID: String(decoding: octets, as: UTF8.self))
    }
}
