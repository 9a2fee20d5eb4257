import Gateway

@main
struct VPNGateway {
    static func main() throws {
        var options = BenchOptions()
        options.associations = CommandLine.arguments.dropFirst().compactMap { Int($0) }
        if options.associations.isEmpty { options.associations = [1] }
        let rows = try BenchReport.run(options) { print($0) }
        print(try BenchReport.render(rows, as: .table))
    }
}
