/// The directory with what must survive a restart.
extension Doctor {
    private var directory: String { site?.gateway.stateDirectory ?? "/var/lib/vpn-gw" }

    /// The process that has the state directory, and its name: a gateway that runs.
    var stateHolder: String? {
        guard let lock = machine.status("\(directory)/lock") else { return nil }
        // "1: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF"
        for line in (machine.text("/proc/locks") ?? "").split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count >= 6, fields[1] == "FLOCK", fields[5].split(separator: ":").last == "\(lock.inode)"
            else {
                continue
            }
            return "process \(fields[4]) (\(machine.text("/proc/\(fields[4])/comm") ?? "unknown"))"
        }
        return nil
    }

    /// The type of the file system that a path is on: that of the longest mount point above it, the latest of equals.
    private func fileSystem(of path: String) -> String? {
        var best: (length: Int, type: Substring)?
        for line in (machine.text("/proc/self/mountinfo") ?? "").split(separator: "\n") {
            let halves = line.split(separator: " - ", maxSplits: 1)
            guard halves.count == 2, let type = halves[1].split(separator: " ").first else { continue }
            let fields = halves[0].split(separator: " ")
            guard fields.count >= 5 else { continue }
            // The kernel's word for a blank.
            let point = fields[4].replacing("\\040", with: " ")
            let isAbove = point == "/" || path == point || path.hasPrefix(point + "/")
            if isAbove, point.utf8.count >= best?.length ?? 0 { best = (point.utf8.count, type) }
        }
        return best.map { String($0.type) }
    }

    private static let remote: Set<String> = ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "fuse.sshfs"]
    private static let volatile: Set<String> = ["tmpfs", "ramfs"]

    var state: [Finding] {
        let path = directory, subject = "state directory"
        guard path.hasPrefix("/") else {
            return [
                .warn(
                    subject, "\(path) is found from wherever the gateway starts",
                    "state_directory = \"/var/lib/vpn-gw\"")
            ]
        }
        guard let status = machine.status(path) else {
            let parent = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
            guard parent.isEmpty || machine.exists(parent) else {
                return [.fail(subject, "\(path) is not there, nor is \(parent)", "install -d -m 0700 \(path)")]
            }
            let text = "\(path) is not there yet"
            return machine.calls.user == 0
                ? [.ok(subject, "\(text): the first start makes it")]
                : [
                    .warn(
                        subject, "\(text), and only who may write to \(parent.isEmpty ? "/" : parent) makes it",
                        "sudo install -d -m 0700 -o $(id -u) \(path)")
                ]
        }
        guard status.isDirectory else {
            return [.fail(subject, "\(path) is no directory", "state_directory = \"/var/lib/vpn-gw\" in [gateway]")]
        }
        var findings: [Finding] = []
        if machine.calls.user != 0 && status.owner != machine.calls.user {
            findings.append(
                .fail(subject, "\(path) belongs to user \(status.owner), not to this one", "chown -R $(id -u) \(path)"))
        }
        if status.permissions & 0o077 != 0 {
            findings.append(
                .warn(
                    subject, "\(path) is open to others (mode \(String(status.permissions, radix: 8)))",
                    "chmod 0700 \(path)"))
        }
        if let type = fileSystem(of: path) {
            if Doctor.volatile.contains(type) {
                findings.append(
                    .fail(
                        subject, "\(path) is in memory (\(type)): a reboot forgets which sequence numbers were used",
                        "state_directory on a disk"))
            } else if Doctor.remote.contains(type) {
                findings.append(
                    .warn(
                        subject, "\(path) is on \(type): every SA waits for it, and its locks may not hold",
                        "state_directory on a local disk"))
            }
        }
        if let free = machine.calls.freeOctets(machine.root + path), free < 64 << 20 {
            findings.append(
                free < 4 << 20
                    ? .fail(subject, "\(path): the disk is full, so no SA gets numbers", "df -h \(path)")
                    : .warn(subject, "\(path): \(free >> 20) MiB are free", "df -h \(path)"))
        }
        if findings.isEmpty { findings.append(.ok(subject, path)) }
        if let holder = stateHolder {
            findings.append(.ok("gateway", "\(holder) runs with this state directory; a second one would not start"))
        }
        return findings
    }
}
