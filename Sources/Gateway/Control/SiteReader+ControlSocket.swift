extension SiteReader {
    /// Where the control socket is when nothing says otherwise.
    public static let defaultControlSocket = "/run/vpn-gw/control.sock"

    /// The `control_socket` of the site file at `path`. The rest of the file may be wrong: whoever asks a running
    /// gateway to reload it wants to hear from the gateway what is.
    public static func controlSocket(path: String) throws(ConfigurationError) -> String {
        let reader = SiteReader()
        switch FileReader.system.read(path, SiteReader.longestFile) {
        case .failure(let failure):
            throw ConfigurationError(problems: [
                ConfigurationProblem(
                    .error, file: path, line: nil, path: "", message: failure.message,
                    hint: "--socket PATH names the gateway's socket without the file", exitCode: failure.exitCode)
            ])
        case .success(var contents):
            defer { contents.wipe() }
            let masked = MaskedText(contents.octets)
            let entries = try reader.parse(masked.text, LineIndex(masked.text), path: path)
            guard case .table(let gateway)? = entries["gateway"], case .string(let socket)? = gateway["control_socket"]
            else { return defaultControlSocket }
            return socket
        }
    }
}
