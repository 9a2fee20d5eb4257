import DataPlane
import IPsec

extension ControlView {
    /// One thing that a port's driver offers of IPsec; of a port whose driver offers nothing, one row that says so.
    public struct Capability: Sendable, Encodable {
        var port: String
        var driver: String
        /// "outbound" or "inbound"; nil where nothing is offered.
        var direction: Direction?
        /// "tunnel" or "transport".
        var mode: String?
        /// In DPDK's words.
        var algorithms: [String] = []
        /// What is offered besides, each of which the gateway does itself.
        var extendedSequenceNumbers: Bool?
        var udpEncapsulation: Bool?
        var replayWindowPackets: Int?
        /// SAs that the gateway gives it at most in this direction.
        var slots: Int?
        /// Whether the gateway can use it.
        var isUsable: Bool
        /// Why not.
        var why: String?
    }
}

extension ControlView {
    /// A crypto device that the site names, and what it is used for.
    public struct CryptoDevice: Sendable, Encodable {
        /// As the site names it.
        var device: String
        /// Nil where DPDK does not find the device.
        var driver: String?
        /// What of ESP it does, in the site's words; nil where it is not used.
        var algorithm: String?
        /// Packets of one worker that it may have at the same time.
        var inFlightPacketsMax: Int?
        /// SAs that it has room for, and those that it has; nil where no gateway runs.
        var slots: Int?
        var associations: Int?
        /// Whether the gateway can use it.
        var isUsable: Bool
        /// Why not.
        var why: String?
    }
}

extension ControlView.CryptoDevice {
    /// One that does what ESP needs of it: a device that does not is not started.
    init(_ coprocessor: Coprocessor) {
        self.init(
            device: coprocessor.name, driver: coprocessor.driver,
            algorithm: Algorithm.aes128GCM16.name, inFlightPacketsMax: WorkerGroup.crossingPackets, isUsable: true)
    }

    /// One of a gateway that runs, with so many SAs. `isLost`: it stopped answering.
    init(_ coprocessor: Coprocessor, associations: Int, isLost: Bool) {
        self.init(coprocessor)
        (slots, self.associations) = (coprocessor.sessionLimit, associations)
        guard isLost else { return }
        (isUsable, why) = (false, "it stopped answering, and gets nothing before the next start")
    }

    /// One that does not start. `error` is what a start threw.
    init(_ device: String, failed error: DataPlaneError) {
        switch error {
        case .noCoprocessor:
            self.init(device: device, isUsable: false, why: "DPDK has no such crypto device")
        case .coprocessorFailed(_, let driver, let step, _):
            self.init(device: device, driver: driver, isUsable: false, why: "the gateway can't \(step) it")
        default: self.init(device: device, isUsable: false, why: Failure(error).message)
        }
    }
}

extension ControlView.Capability {
    /// The rows of a port. `hindrance` says why the gateway that runs does not use a direction.
    static func rows(
        _ port: String, _ survey: EngineSurvey, hindrance: (Direction) -> FallbackReason? = { _ in nil }
    ) -> [ControlView.Capability] {
        guard !survey.capabilities.isEmpty else {
            return [
                ControlView.Capability(
                    port: port, driver: survey.driver, isUsable: false, why: "its driver offers no IPsec")
            ]
        }
        return survey.capabilities.map { offer in
            let refusal = refusal(survey, offer) ?? hindrance(offer.direction)?.help
            return ControlView.Capability(
                port: port, driver: survey.driver, direction: offer.direction, mode: offer.mode.rawValue,
                algorithms: offer.algorithms, extendedSequenceNumbers: offer.hasESN,
                udpEncapsulation: offer.hasUDPEncapsulation, replayWindowPackets: offer.replayWindowPackets,
                slots: survey.slots(offer.direction), isUsable: refusal == nil, why: refusal)
        }
    }

    private static func refusal(_ survey: EngineSurvey, _ offer: SecurityCapability) -> String? {
        if survey.rules == nil { return "the habits of \(survey.driver) in \(DPDKVersion.text) are not known" }
        if !survey.receives { return "the driver can't receive with it" }
        if !survey.sends { return "the driver can't send with it" }
        if !offer.isInlineCrypto { return "it is not cryptography on the packet's way" }
        if !offer.isESP { return "it is AH" }
        if offer.changesTrailer { return "it makes trailers by itself" }
        return offer.hasAES128GCM16 ? nil : "it has no AES-128-GCM with an ICV of 16 octets"
    }
}
