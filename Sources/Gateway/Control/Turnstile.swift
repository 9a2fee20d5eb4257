/// Lets one piece of work in at a time, in the order they came. A view of 100 000 SAs takes tens of MiB while it is
/// made: as many clients as there may be must not make as many at once.
actor Turnstile {
    private var last: Task<Void, Never>?

    /// Runs `work` when all that came before is done.
    func enter<Result: Sendable>(_ work: @escaping @Sendable () async -> Result) async -> Result {
        let task = Task { [last] in
            await last?.value
            return await work()
        }
        last = Task { _ = await task.value }
        return await task.value
    }
}
