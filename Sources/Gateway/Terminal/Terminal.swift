import Glibc

/// The terminal as a screen of its own: keys come one by one and are not shown, what was there before comes back.
///
/// Keys that would stop the process come as keys, so that nothing leaves the terminal as it is here.
public struct Terminal: ~Copyable {
    private var before = termios()

    /// Takes the terminal over; nil unless both standard input and output are one.
    public init?() {
        guard isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1, unsafe tcgetattr(STDIN_FILENO, &before) == 0
        else { return nil }
        var raw = before
        raw.c_lflag &= ~tcflag_t(ICANON | ECHO | ISIG | IEXTEN)
        raw.c_iflag &= ~tcflag_t(IXON | ICRNL)
        guard unsafe tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) == 0 else { return nil }
        // The alternate screen, without a cursor, and lines that don't wrap.
        Terminal.write("\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l\u{1b}[H\u{1b}[2J")
    }

    deinit {
        Terminal.write("\u{1b}[0m\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l")
        var before = before
        unsafe tcsetattr(STDIN_FILENO, TCSAFLUSH, &before)
    }

    /// Writes all of a text; a terminal that is gone takes nothing.
    public static func write(_ text: String) {
        let octets = Array(text.utf8)
        var start = 0
        while start < octets.count {
            let count = unsafe octets.withUnsafeBytes { memory in
                let rest = unsafe UnsafeRawBufferPointer(rebasing: memory[start...])
                return unsafe Glibc.write(STDOUT_FILENO, rest.baseAddress, rest.count)
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return }
            start += count
        }
    }

    /// Columns and rows; 80 and 24 when it does not say.
    public static var size: (columns: Int, rows: Int) {
        var size = winsize()
        guard unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else {
            return (80, 24)
        }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    /// Columns of the terminal that standard output is; nil where it is none, and nothing is cut.
    public static var outputColumns: Int? { isatty(STDOUT_FILENO) == 1 ? size.columns : nil }

    /// Waits for a key, so many milliseconds at most. Nil without one; an end of input is Ctrl-C.
    public static func key(within milliseconds: Int) -> UInt8? {
        var wanted = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
        guard unsafe poll(&wanted, 1, Int32(milliseconds)) > 0 else { return nil }
        var octet: UInt8 = 0
        return unsafe read(STDIN_FILENO, &octet, 1) == 1 ? octet : 3
    }
}
