import ArgumentParser
import Gateway

/// Runs a command's body; what it throws becomes one message on stderr and the exit code of the contract.
func reportingFailures(_ body: () async throws -> Void) async throws {
    do { try await body() } catch let error as ArgumentParser.ExitCode {
        throw error
    } catch {
        let failure = Failure(error)
        StandardError.write("vpn-gw: \(failure.message)\n")
        throw ArgumentParser.ExitCode(failure.exitCode.rawValue)
    }
}
