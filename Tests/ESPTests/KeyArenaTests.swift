import IPsec
import SeededRandom
import Synchronization
import Testing

@testable import ESP

@Suite("Memory for keys")
struct KeyArenaTests {
    private static func material(_ random: inout SplitMix64) throws -> KeyMaterial {
        try #require(
            unsafe random.octets(Algorithm.aes128GCM16.keyMaterialOctets).withUnsafeBytes {
                unsafe KeyMaterial($0, for: .aes128GCM16)
            })
    }

    private static let tableOctets = 1008

    private static func octets(_ start: UnsafeMutableRawPointer, _ count: Int) -> [UInt8] {
        unsafe [UInt8](UnsafeRawBufferPointer(start: start, count: count))
    }

    @Test("a key that goes is wiped, and its slot is the next key's")
    func wiped() throws {
        var random = SplitMix64(seed: 1)
        let arena = try #require(KeyArena())
        let kept = try #require(arena.expand(try KeyArenaTests.material(&random)))
        var gone = arena.expand(try KeyArenaTests.material(&random))
        let table = unsafe try #require(gone?.table)
        let before = unsafe KeyArenaTests.octets(kept.table, KeyArenaTests.tableOctets)
        #expect(unsafe KeyArenaTests.octets(table, KeyArenaTests.tableOctets).contains { $0 != 0 })
        gone = nil
        #expect(unsafe KeyArenaTests.octets(table, KeyArenaTests.tableOctets).allSatisfy { $0 == 0 })
        #expect(unsafe KeyArenaTests.octets(kept.table, KeyArenaTests.tableOctets) == before)
        let next = try #require(arena.expand(try KeyArenaTests.material(&random)))
        #expect(unsafe next.table == table)
    }

    @Test("a key of any algorithm is expanded, and wiped when it goes", arguments: Algorithm.all)
    func wiped(algorithm: Algorithm) throws {
        var random = SplitMix64(seed: 6)
        let octets = random.octets(algorithm.keyMaterialOctets)
        let material = try #require(unsafe octets.withUnsafeBytes { unsafe KeyMaterial($0, for: algorithm) })
        let arena = try #require(KeyArena())
        var key = arena.expand(material)
        #expect(key?.algorithm == algorithm)
        #expect(key.map { UInt64($0.saltWord) } == words([UInt8](octets.dropFirst(algorithm.keyOctets))).0)
        let table = unsafe try #require(key?.table)
        #expect(unsafe KeyArenaTests.octets(table, 32).contains { $0 != 0 })
        key = nil
        #expect(unsafe KeyArenaTests.octets(table, KeyArenaTests.tableOctets).allSatisfy { $0 == 0 })
    }

    @Test("KEYMAT that goes is wiped, and so is what was no key")
    func wipedMaterial() throws {
        let slabs = SecretSlabs(octets: Algorithm.aes128GCM16.keyMaterialOctets, firstSlots: 4)
        let slot = try #require(slabs.take())
        unsafe slot.start.initializeMemory(as: UInt8.self, repeating: 0xa5, count: slabs.slotOctets)
        slabs.release(slot)
        #expect(unsafe KeyArenaTests.octets(slot.start, slabs.slotOctets).allSatisfy { $0 == 0 })
        #expect(unsafe try #require(slabs.take()).start == slot.start)

        var random = SplitMix64(seed: 2)
        var material: KeyMaterial? = try KeyArenaTests.material(&random)
        // Another test may have the slot before it is looked at, and no other test's key begins with this word.
        let secret = unsafe try #require(material?.secret)
        let word = unsafe secret.load(as: UInt64.self)
        material = nil
        #expect(unsafe secret.load(as: UInt64.self) != word)
    }

    @Test("an expanded key keeps its arena's memory")
    func lifetime() throws {
        var random = SplitMix64(seed: 3)
        let material = try KeyArenaTests.material(&random)
        var arena = KeyArena()
        let key = try #require(arena?.expand(material)), other = try #require(KeyArena()?.expand(material))
        arena = nil
        #expect(
            unsafe KeyArenaTests.octets(key.table, KeyArenaTests.tableOctets)
                == KeyArenaTests.octets(other.table, KeyArenaTests.tableOctets))
        #expect(key.saltWord == material.saltWord && Mirror(reflecting: key).children.isEmpty)
    }

    @Test("many keys lie one behind the other, on cache lines of their own, in few mappings")
    func many() throws {
        var random = SplitMix64(seed: 4)
        let arena = try #require(KeyArena()), before = try ProcessMemory.mappings().count
        let materials = try (0..<5000).map { _ in try KeyArenaTests.material(&random) }
        let keys = try materials.map { try #require(arena.expand($0)) }
        let tables = keys.map { unsafe UInt(bitPattern: $0.table) }
        #expect(tables.allSatisfy { $0 % 64 == 0 } && Set(tables).count == keys.count)
        let stride = UInt(KeyArenaTests.tableOctets + 63) / 64 * 64
        #expect(zip(tables, tables.dropFirst()).count { $1 == $0 + stride } >= 5000 - 5000 / 64 - 1)
        let secrets = materials.map { unsafe UInt(bitPattern: $0.secret) }
        #expect(secrets.allSatisfy { $0 % 64 == 0 } && Set(secrets).count == materials.count)
        // A slab each at the most: the kernel joins those that lie side by side. Others may map memory meanwhile.
        #expect(try ProcessMemory.mappings().count - before < 5000 / 64 + 5000 / 1024 + 100)
    }

    @Test("keys are in no core dump")
    func dontDump() throws {
        var random = SplitMix64(seed: 5)
        let material = try KeyArenaTests.material(&random)
        let key = try #require(KeyArena()?.expand(material))
        let mappings = try ProcessMemory.mappings()
        for address in unsafe [UInt(bitPattern: material.secret), UInt(bitPattern: key.table)] {
            let mapping = try #require(mappings.first { $0.range.contains(address) })
            // proc(5): "dd" is "do not include area into core dump".
            #expect(mapping.flags.contains("dd"), "\(mapping.flags)")
        }
        // What is not a key's is in it, or the above would say nothing.
        let ordinary = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 64)
        defer { unsafe ordinary.deallocate() }
        let mapping = try #require(mappings.first { $0.range.contains(UInt(bitPattern: ordinary)) })
        #expect(!mapping.flags.contains("dd"))
    }

    @Test("threads that take and let go at once leave each other's keys alone", arguments: 1...3 as ClosedRange<UInt64>)
    func concurrent(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let arena = try #require(KeyArena()), reference = try #require(KeyArena())
        let texts = (0..<32).map { _ in random.octets(Algorithm.aes128GCM16.keyMaterialOctets) }
        let expected = try texts.map { text in
            let material = try #require(unsafe text.withUnsafeBytes { unsafe KeyMaterial($0, for: .aes128GCM16) })
            let key = try #require(reference.expand(material))
            return unsafe KeyArenaTests.octets(key.table, KeyArenaTests.tableOctets)
        }
        let wrong = await withTaskGroup(of: Int.self) { group in
            for task in 0..<8 {
                group.addTask {
                    var random = SplitMix64(seed: seed << 8 | UInt64(task))
                    var held: [(text: Int, material: KeyMaterial, key: ExpandedKey)] = [], wrong = 0
                    for _ in 0..<2000 {
                        if held.count < 100 && Bool.random(using: &random) {
                            let text = Int.random(in: texts.indices, using: &random)
                            guard
                                let material = unsafe texts[text].withUnsafeBytes({
                                    unsafe KeyMaterial($0, for: .aes128GCM16)
                                }),
                                let key = arena.expand(material)
                            else { return .max }
                            held.append((text, material, key))
                        } else if !held.isEmpty {
                            let one = held.remove(at: Int.random(in: held.indices, using: &random))
                            if unsafe KeyArenaTests.octets(one.key.table, KeyArenaTests.tableOctets)
                                != expected[one.text]
                                || KeyArenaTests.octets(one.material.secret, Algorithm.aes128GCM16.keyMaterialOctets)
                                    != texts[one.text]
                            {
                                wrong += 1
                            }
                        }
                    }
                    return wrong
                }
            }
            return await group.reduce(0) { $0 &+ $1 }
        }
        #expect(wrong == 0, "seed \(seed)")
    }
}
