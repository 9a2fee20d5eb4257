import Capture
import Glibc
import Testing

@Suite("Outputs that are not inputs")
struct CaptureFilesTests {
    private let scratch = Scratch()

    private func refusal(inputs: [String], outputs: [String]) -> CaptureError? {
        do throws(CaptureError) {
            try CaptureFiles.checkDistinct(inputs: inputs, outputs: outputs)
            return nil
        } catch {
            return error
        }
    }

    @Test("different files are fine, the same input twice as well")
    func distinct() {
        let one = scratch.file("one", [1]), two = scratch.file("two", [1])
        #expect(refusal(inputs: [one, one], outputs: [two, scratch.file("new"), scratch.file("newer")]) == nil)
        #expect(refusal(inputs: [scratch.file("absent")], outputs: [scratch.file("no/directory"), ""]) == nil)
    }

    @Test("an input under any of its names is refused")
    func inputs() {
        let one = scratch.file("one", [1]), hard = scratch.file("hard"), soft = scratch.file("soft")
        unsafe link(one, hard)
        unsafe symlink(one, soft)
        for output in [one, hard, soft, scratch.path + "/./one"] {
            let error = refusal(inputs: [scratch.file("two", [1]), one], outputs: [scratch.file("new"), output])
            #expect(error == .sameFile(output: output, other: one))
            #expect(error?.exitCode == 64)
        }
        #expect(contents(one) == [1])
    }

    @Test("two outputs in one file are refused, also before it exists")
    func outputs() {
        let one = scratch.file("one", [1]), new = scratch.file("new")
        #expect(refusal(inputs: [], outputs: [one, one]) == .sameFile(output: one, other: one))
        #expect(refusal(inputs: [], outputs: [new, new]) == .sameFile(output: new, other: new))
        let spelled = scratch.path + "//./new"
        #expect(refusal(inputs: [], outputs: [new, spelled]) == .sameFile(output: spelled, other: new))
    }

    @Test("devices may be named as often as one likes")
    func devices() {
        #expect(refusal(inputs: ["/dev/null"], outputs: ["/dev/null", "/dev/null"]) == nil)
    }
}
