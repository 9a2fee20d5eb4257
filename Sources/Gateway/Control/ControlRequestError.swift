/// A request that can't be understood: which field, and what it should be. Holds nothing of what the field held.
struct ControlRequestError: Error {
    let message: String
    let hint: String

    init(_ message: String, hint: String = "") {
        self.message = message
        self.hint = hint
    }
}
