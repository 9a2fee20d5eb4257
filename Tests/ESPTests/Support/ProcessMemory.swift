import Glibc

/// This process's memory as the kernel sees it.
enum ProcessMemory {
    struct Mapping {
        var range: Range<UInt>
        /// Of two letters each, proc(5).
        var flags: Set<String>
    }

    struct Unreadable: Error {}

    /// All mappings, from /proc/self/smaps.
    static func mappings() throws -> [Mapping] {
        var mappings: [Mapping] = []
        for line in try text(of: "/proc/self/smaps").split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.first == "VmFlags:" {
                if !mappings.isEmpty { mappings[mappings.count - 1].flags = Set(words.dropFirst().map(String.init)) }
                continue
            }
            let ends = words.first.map { $0.split(separator: "-").compactMap { UInt($0, radix: 16) } } ?? []
            if ends.count == 2, ends[0] < ends[1] { mappings.append(Mapping(range: ends[0]..<ends[1], flags: [])) }
        }
        return mappings
    }

    private static func text(of path: String) throws -> String {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Unreadable() }
        defer { close(descriptor) }
        var text: [UInt8] = [], buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = unsafe read(descriptor, &buffer, buffer.count)
            guard count >= 0 else { throw Unreadable() }
            if count == 0 { return String(decoding: text, as: UTF8.self) }
            text += buffer[..<count]
        }
    }
}
