import Testing

@testable import Gateway

@Suite("Lines of keys")
struct LineIndexTests {
    private static let text = #"""
        # [comment]
        top = 1
        [a]            # [no]
        s = "x # y = 1 \" [z]"
        l = 'c:\'
        m = """
        inner = 1
        [not.a.table]
        \""" still """""
        after = 2
        n = '''
        x = "
        '''
        arr = [
          1, # one
          [ "]", '#' ],
          { k = 1, j = "}" },
        ]
        q."d.k".e = 5
        [[t]]
        x = { y = { z = 1 }, w = 2 }
        [t.sub]
        k = 1
        [[t.list]]
        [[t.list]]
        v = 1
        [[t]]
        x = 3
        [t.sub]
        k = 2
        d = 2026-01-01T00:00:00Z
        [[t.list]]
        v = 2
        """#

    @Test(
        "strings, comments, inline tables and arrays of tables",
        arguments: [
            ("top", 2), ("a", 3), ("a.s", 4), ("a.l", 5), ("a.m", 6), ("a.after", 10), ("a.n", 11), ("a.arr", 14),
            ("a.arr[0]", 15), ("a.arr[1]", 16), ("a.arr[1][1]", 16), ("a.arr[2]", 17), ("a.arr[2].j", 17), ("a.q", 19),
            ("a.q.d.k.e", 19), ("t", 20), ("t[0]", 20), ("t[0].x", 21), ("t[0].x.y.z", 21), ("t[0].x.w", 21),
            ("t[0].sub", 22),
            ("t[0].sub.k", 23), ("t[0].list[0]", 24), ("t[0].list[1].v", 26), ("t[1]", 27), ("t[1].x", 28),
            ("t[1].sub.k", 30),
            ("t[1].sub.d", 31), ("t[1].list[0].v", 33), ("t[1].absent", 27), ("t[0].sub.absent.deeper[3]", 22),
        ])
    func lines(path: String, line: Int) {
        #expect(LineIndex(Array(LineIndexTests.text.utf8)).line(of: path) == line)
    }

    @Test("what is not there has no line")
    func absent() {
        let index = LineIndex(Array(LineIndexTests.text.utf8))
        for path in ["inner", "not", "x", "", ".", "[", "]", "..", "[[[0]"] {
            #expect(index.line(of: path) == nil, "\(path)")
        }
    }

    @Test("of many places each has its line, the first of those that stand twice")
    func many() {
        let tables = (0..<3000).map { "[[a]]\nb = { c = \($0) }\n" }.joined()
        let index = LineIndex(Array("[head]\n\(tables)[head.d]\n".utf8))
        for number in [0, 1, 100, 1500, 2999] {
            #expect(index.line(of: "a[\(number)]") == 2 + 2 * number)
            #expect(index.line(of: "a[\(number)].b.c") == 3 + 2 * number)
            #expect(index.line(of: "a[\(number)].b.missing") == 3 + 2 * number)
        }
        #expect(index.line(of: "head.d.e") == 6002)
        #expect(index.line(of: "a") == 2 && index.line(of: "head") == 1 && index.line(of: "nothing") == nil)
    }

    @Test(
        "text cut anywhere is survived",
        arguments: ["", "\"", "\"\"\"", "'''x", "a = [", "a = {", "a = { b", "[[", "[a.", "a.", "\\"])
    func cut(text: String) {
        _ = LineIndex(Array(text.utf8))
        let whole = Array(LineIndexTests.text.utf8)
        for count in whole.indices { _ = LineIndex(Array(whole[..<count]) + Array(text.utf8)) }
    }

    @Test(
        "depth and length have limits, told by line",
        arguments: [
            "\n" + String(repeating: "a.", count: 100_000) + "a = 1", "\na = " + String(repeating: "[", count: 100_000),
            "\na = " + String(repeating: "{ a = ", count: 100_000), "\n[" + String(repeating: "a.", count: 50) + "a]",
            "\n" + String(repeating: "a", count: 100_000) + " = 1",
        ])
    func limits(text: String) {
        let refusal = LineIndex(Array(text.utf8)).refusal
        #expect(refusal?.line == 2 && refusal?.reason == .excessive)
    }

    @Test(
        "keys, tables and elements are counted",
        arguments: [
            ("a = 1\nb = 2\nc = 3\nd = 4", 4), ("[a]\n[b]\n[c]\n[d]\ne = 1", 4), ("a = [\n1,\n2,\n3]", 4),
            ("a = { b = 1,\nc = 1, d = 1 }", 2), ("\n[[a]]\n[[a]]\n", 3), ("\n\na.b.c.d = 1", 3),
        ])
    func tooMany(text: String, line: Int) {
        let refusal = LineIndex(Array(text.utf8), most: 3).refusal
        #expect(refusal?.line == line && refusal?.reason == .tooMany)
        #expect(LineIndex(Array(text.utf8), most: 6).refusal == nil)
    }

    @Test(
        "a table without a name is told before the parser falls over it",
        arguments: [
            "[", "[[", "[=]", "[.a]", "[[.a]]", "[ #]", "[\n]", "[ [a]]", "[é]",
        ])
    func nameless(text: String) {
        let refusal = LineIndex(Array("a = 1\n\(text)\nb = 1".utf8)).refusal
        #expect(refusal?.line == 2 && refusal?.reason == .namelessTable)
    }

    @Test("a blank between a date and a time is told apart", arguments: ["1979-05-27 9", "2027-01-01 00:00:00Z"])
    func blankInDate(text: String) {
        for value in [text, "[\(text)]", "{ a = \(text) }"] {
            let refusal = LineIndex(Array("a = 1\nb = \(value)\n".utf8)).refusal
            #expect(refusal?.line == 2 && refusal?.reason == .blankInDate)
        }
    }

    @Test(
        "no value is told before the parser falls over it",
        arguments: ["}", "1, }", "\u{2028}", "[é]", "{a=[}"])
    func noValue(text: String) {
        let refusal = LineIndex(Array("a = 1\nb = [\(text)]\n".utf8)).refusal
        #expect(refusal?.line == 2 && refusal?.reason == .noValue)
    }
}
