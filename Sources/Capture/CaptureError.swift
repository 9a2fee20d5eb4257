/// What is wrong with a capture file, in words for the operator who named it.
public enum CaptureError: Error, Hashable, Sendable {
    /// There is no file of that name to read.
    case absent(path: String)
    /// The file may not be read, or not be written, by this user.
    case noPermission(path: String)
    /// The system can't read it: a directory, an input error. `reason` is the system's.
    case unreadable(path: String, reason: String)
    /// The content is broken. `offsetOctets` is where the record (in pcapng: the block) that failed starts, 0 for the
    /// file's header, nil for a pipe; `reason` is libpcap's.
    case corrupt(path: String, offsetOctets: UInt64?, reason: String)
    /// Neither Ethernet nor raw IP. `linkType` is libpcap's name for it, or its number.
    case unsupportedLinkType(path: String, linkType: String)
    /// The system can't create or write it: no such directory, disk full. `reason` is the system's.
    case unwritable(path: String, reason: String)
    /// An output that is also an input, or twice an output, whatever the names.
    case sameFile(output: String, other: String)

    /// The process's exit code after sysexits.h: 65 content, 66 unreadable, 77 permission, 73 unwritable, 64 usage.
    public var exitCode: Int32 {
        switch self {
        case .corrupt, .unsupportedLinkType: 65
        case .absent, .unreadable: 66
        case .noPermission: 77
        case .unwritable: 73
        case .sameFile: 64
        }
    }
}

extension CaptureError: CustomStringConvertible {
    /// One line with the file's name first and what to do about it last, where that is known.
    public var description: String {
        switch self {
        case .absent(let path): "\(path): no such file"
        case .noPermission(let path): "\(path): permission denied: see `ls -lL` of the file and of its directory"
        case .unreadable(let path, let reason): "\(path): can't be read: \(reason)"
        case .corrupt(let path, let offset, let reason):
            if offset == 0 {
                "\(path): at octet 0: \(reason): is it a pcap or pcapng file, and not compressed?"
            } else if let offset {
                "\(path): at octet \(offset): \(reason)"
            } else {
                "\(path): \(reason)"
            }
        case .unsupportedLinkType(let path, let linkType):
            "\(path): link type \(linkType) is neither Ethernet nor raw IP: "
                + "capture on one interface by its name, not on `any`"
        case .unwritable(let path, let reason): "\(path): can't be written: \(reason)"
        case .sameFile(let output, let other) where output == other:
            "\(output): named twice: each output is a file of its own"
        case .sameFile(let output, let other):
            "\(output): is the same file as \(other), which writing would destroy: name another output"
        }
    }
}
