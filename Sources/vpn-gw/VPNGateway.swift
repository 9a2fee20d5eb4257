import Gateway

@main
struct VPNGateway {
    static func main() {}
}
