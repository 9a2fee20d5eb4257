import ESP
import IPsec

/// A key that came by the control socket, before it is known which algorithm its tunnel has: the key of each that takes
/// as many octets. All but the one that is asked for are wiped with it.
public struct ControlKey: Sendable {
    private let keys: [Algorithm: KeyMaterial]
    /// Octets of key and salt.
    let octets: Int
    /// The same whatever the algorithm.
    let fingerprint: KeyFingerprint

    /// `make` gives the key of an algorithm that takes `octets`. Nil when there is no such algorithm, or no memory.
    init?(octets: Int, _ make: (Algorithm) -> KeyMaterial?) {
        let algorithms = Algorithm.all.filter { $0.keyMaterialOctets == octets }
        let keys = algorithms.compactMap { algorithm in make(algorithm).map { (algorithm, $0) } }
        guard let first = keys.first, keys.count == algorithms.count else { return nil }
        self.keys = Dictionary(uniqueKeysWithValues: keys)
        self.octets = octets
        fingerprint = first.1.fingerprint
    }

    /// The key for this algorithm; nil when that takes another number of octets.
    func material(for algorithm: Algorithm) -> KeyMaterial? { keys[algorithm] }
}
