import Foundation

/// Writes the small files that operators ask for.
enum FileOutput {
    /// Replaces the file at `path` by `text`.
    static func write(_ text: String, to path: String) throws(ReplayError) {
        do { try Data(text.utf8).write(to: URL(fileURLWithPath: path)) } catch {
            let reason = (error as NSError).userInfo[NSUnderlyingErrorKey].map { "\($0)" } ?? error.localizedDescription
            throw .reportUnwritable(path: path, reason: reason)
        }
    }
}
