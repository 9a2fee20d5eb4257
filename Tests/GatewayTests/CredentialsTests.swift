import ESP
import Glibc
import Testing

@testable import Gateway

@Suite("systemd's credentials")
struct CredentialsTests {
    private static let directory = "/run/credentials/vpn-gw.service"

    private static func site(keyFile: String) -> String {
        goodSite.replacingOccurrences(of: "key = \"\(TestKeys.first)\"", with: "key_file = \"\(keyFile)\"")
    }

    private static func errors(
        keyFile: String, file: String = directory + "/out.key", permissions: UInt32 = 0o440,
        credentials: String? = directory
    ) -> [ConfigurationProblem] {
        let files = MemoryFiles(files: [file: (TestKeys.first, permissions)])
        return problems(of: site(keyFile: keyFile), mode: .run, files: files, credentials: credentials)
            .filter { $0.severity == .error }
    }

    @Test(
        "a credential is read by its variable or its path, and its ACL's mask is no matter",
        arguments: ["$CREDENTIALS_DIRECTORY/out.key", "\(directory)/out.key"], [directory, directory + "/"])
    func credential(keyFile: String, credentials: String) throws {
        let files = MemoryFiles(files: [CredentialsTests.directory + "/out.key": (TestKeys.first + "\n", 0o440)])
        let site = CredentialsTests.site(keyFile: keyFile)
        let reading = try readSite(site, mode: .run, files: files, credentials: credentials)
        #expect(
            reading.site.topology.tunnels[0].children[0].outbound.key.fingerprint
                == KeyMaterial(hexadecimal: TestKeys.first, for: .aes128GCM16)?.fingerprint)
    }

    @Test("a credential that all may read is refused", arguments: [0o444, 0o604] as [UInt32])
    func open(permissions: UInt32) {
        let errors = CredentialsTests.errors(keyFile: "$CREDENTIALS_DIRECTORY/out.key", permissions: permissions)
        #expect(errors.map(\.path) == ["tunnel[0].outbound.key_file"])
        #expect(errors.first?.message.contains("may be read by anybody") == true)
    }

    @Test(
        "the group's bit counts for what is not below the directory",
        arguments: [
            ("$CREDENTIALS_DIRECTORY/../out.key", directory + "/../out.key"),
            (directory + "x/out.key", directory + "x/out.key"),
            ("/etc/out.key", "/etc/out.key"), ("out.key", "/etc/vpn-gw/out.key"),
        ])
    func elsewhere(keyFile: String, file: String) {
        let errors = CredentialsTests.errors(keyFile: keyFile, file: file)
        #expect(errors.first?.message.contains("may be read by group or others (mode 0440)") == true)
        #expect(errors.count == 1 && CredentialsTests.errors(keyFile: keyFile, file: file, permissions: 0o400).isEmpty)
    }

    @Test("without the variable the unit's setting is told", arguments: [nil, "", "/", "credentials", "./x"])
    func unset(credentials: String?) throws {
        let site = CredentialsTests.site(keyFile: "$CREDENTIALS_DIRECTORY/out.key")
        let error = try #require(throws: ConfigurationError.self) { try readSite(site, credentials: credentials) }
        #expect(error.exitCode == .noInput)
        #expect(error.description.contains("LoadCredentialEncrypted=out.key:"))
    }

    @Test(
        "no other variable, and this one at the beginning only",
        arguments: [
            "$HOME/out.key", "${CREDENTIALS_DIRECTORY}/out.key", "$CREDENTIALS_DIRECTORY", "$CREDENTIALS_DIRECTORYX/a",
        ])
    func otherVariables(keyFile: String) {
        let errors = CredentialsTests.errors(keyFile: keyFile)
        #expect(errors.first?.description.contains("no variable but $CREDENTIALS_DIRECTORY/ is replaced") == true)
        let inside = CredentialsTests.errors(keyFile: "/x/$CREDENTIALS_DIRECTORY/out.key")
        #expect(inside.first?.message.contains("there is no such file") == true)
    }

    @Test("a credential that the unit does not load is told as such")
    func absent() {
        let errors = CredentialsTests.errors(keyFile: "$CREDENTIALS_DIRECTORY/in.key")
        #expect(errors.first?.hint.contains("LoadCredential") == true)
    }
}
