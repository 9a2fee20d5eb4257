import ArgumentParser
import Gateway

/// How wide a table may be.
struct TableOption: ParsableArguments {
    @Flag(help: "Print all columns, however narrow the terminal is.")
    var wide = false

    /// Columns of the terminal; nil: no limit.
    var columns: Int? { wide ? nil : Terminal.outputColumns }
}
