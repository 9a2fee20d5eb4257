import ESP
import IPsec
import SeededRandom
import Wire

@testable import DataPlane

/// A key that follows from a number, for tests alone.
func key(_ number: UInt64, for algorithm: Algorithm = .aes128GCM16) throws -> KeyMaterial {
    var random = SplitMix64(seed: number ^ 0x6b65_7973)
    let octets = random.octets(algorithm.keyMaterialOctets)
    guard let key = unsafe octets.withUnsafeBytes({ unsafe KeyMaterial($0, for: algorithm) }) else {
        throw DataPlaneError.noCrypto
    }
    return key
}

func address(_ text: String) -> IPAddress {
    IPAddress(text) ?? { preconditionFailure("\(text) is no address") }()
}

func prefix(_ text: String) -> IPPrefix {
    IPPrefix(text) ?? { preconditionFailure("\(text) is no prefix") }()
}

func port(
    _ name: String, _ role: Topology.Role, _ addresses: [String], mtu: Int = 1500, localServices: Bool = true
) -> Topology.Port {
    Topology.Port(
        name: name, role: role, device: "",
        addresses: addresses.map {
            IPInterfaceAddress($0) ?? { preconditionFailure("an address with its block") }()
        }, mtuOctets: mtu, localServices: localServices)
}

/// A tunnel whose keys and SPIs follow from a number; the other side of it has the same number and `isReversed`.
func tunnel(
    _ number: Int, local: IPAddress, remote: IPAddress, localSubnets: [IPPrefix], remoteSubnets: [IPPrefix],
    spis: (UInt32, UInt32)? = nil, window: Int = 64, innerMTU: Int = 1446, isReversed: Bool = false,
    keys: (KeyMaterial, KeyMaterial)? = nil
) throws -> Topology.Tunnel {
    let (there, back) = spis ?? (0x1000 + UInt32(number), 0x10_0000 + UInt32(number))
    let (thereKey, backKey) = try keys ?? (key(UInt64(number) * 2), key(UInt64(number) * 2 + 1))
    return Topology.Tunnel(
        name: "t\(number)", localAddress: local, remoteAddress: remote, localSubnets: localSubnets,
        remoteSubnets: remoteSubnets,
        children: [
            Topology.Child(
                outbound: Topology.Outbound(
                    spi: SPI(rawValue: isReversed ? back : there), key: isReversed ? backKey : thereKey),
                inbound: Topology.Inbound(
                    spi: SPI(rawValue: isReversed ? there : back), key: isReversed ? thereKey : backKey,
                    replayWindowPackets: window))
        ], innerMTUOctets: innerMTU)
}
