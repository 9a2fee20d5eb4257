import CDPDK
import IPsec

/// One thing that a driver says its IPsec engine does.
public struct SecurityCapability: Equatable, Sendable {
    /// Cryptography on the packet's way; the rest, headers and windows, is left to us.
    public var isInlineCrypto: Bool
    /// ESP; else AH.
    public var isESP: Bool
    /// Tunnel or transport.
    public var mode: AssociationProfile.Mode
    /// Outbound is what it calls egress.
    public var direction: Direction
    /// AES-GCM with a key of 16 octets, an ICV of 16 and 8 octets of associated data.
    public var hasAES128GCM16: Bool
    /// Whether it makes trailers or takes them off by itself.
    public var changesTrailer: Bool
    /// Of what it says besides: 64-bit numbers, ESP in UDP, its own window.
    public var hasESN: Bool, hasUDPEncapsulation: Bool, replayWindowPackets: Int
    /// All that it names, in DPDK's words.
    public var algorithms: [String]

    /// What this gateway can use.
    public var isUsable: Bool { isInlineCrypto && isESP && hasAES128GCM16 && !changesTrailer }

    /// Of a port's engine; empty where it has none.
    static func of(_ context: UnsafeMutableRawPointer) -> [SecurityCapability] {
        var rows = [cdpdk_security_capability](repeating: cdpdk_security_capability(), count: 64)
        let count = unsafe cdpdk_security_capabilities(context, &rows, UInt32(rows.count))
        return rows.prefix(Int(count)).map { row in
            let text = unsafe withUnsafeBytes(of: row.algorithms) { octets in
                unsafe String(decoding: octets.prefix { $0 != 0 }, as: UTF8.self)
            }
            return SecurityCapability(
                isInlineCrypto: row.is_inline_crypto, isESP: row.is_esp, mode: row.is_tunnel ? .tunnel : .transport,
                direction: row.is_egress ? .outbound : .inbound, hasAES128GCM16: row.has_aes_128_gcm,
                changesTrailer: row.changes_trailer, hasESN: row.has_esn,
                hasUDPEncapsulation: row.has_udp_encapsulation, replayWindowPackets: Int(row.replay_window_packets),
                algorithms: text.split(separator: " ").map(String.init))
        }
    }
}
