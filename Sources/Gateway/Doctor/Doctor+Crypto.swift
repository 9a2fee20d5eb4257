import DataPlane

/// The crypto devices that a site names: their drivers, and who has them now.
extension Doctor {
    /// Names of vdevs whose driver is called otherwise.
    private static let shared = ["aesni_mb", "aesni_gcm", "chacha20_poly1305", "kasumi", "snow3g", "zuc"]
    /// Software without AES-GCM.
    private static let others = [
        "crypto_null", "crypto_chacha20_poly1305", "crypto_kasumi", "crypto_snow3g", "crypto_zuc",
    ]
    /// Drivers of PCI devices by the vendor's number.
    private static let vendors = [
        "0x8086": ["common_qat"], "0x1022": ["crypto_ccp"], "0x15b3": ["crypto_mlx5"], "0x1af4": ["crypto_virtio"],
        "0x177d": ["crypto_cnxk", "crypto_octeontx", "crypto_nitrox"],
    ]

    /// A finding for each crypto device; several where several things are wrong.
    var coprocessors: [Finding] { (site?.dpdk.cryptoDevices ?? []).flatMap(examine) }

    private func examine(coprocessor device: String) -> [Finding] {
        let name = Environment.Settings.portName(device), subject = "crypto \(name)"
        guard let address = Doctor.address(of: device) else { return [examine(virtual: name, subject)] }
        let state = examine(address, subject, search: "lspci -D -d ::0b40")
        guard let vendor = machine.text("/sys/bus/pci/devices/\(address)/vendor") else { return [state] }
        guard let drivers = Doctor.vendors[vendor] else {
            return [
                state,
                .warn(
                    subject, "\(address) is of vendor \(vendor), of which no crypto driver is known",
                    "vpn-gw caps --config …, before the gateway starts, says whether DPDK takes it"),
            ]
        }
        return drivers.contains(where: installedDrivers.contains) ? [state] : [state, missing(drivers[0], subject)]
    }

    private func examine(virtual name: String, _ subject: String) -> Finding {
        // DPDK takes any name that begins with a driver's.
        let installed = installedDrivers.filter { $0.hasPrefix("crypto_") && name.hasPrefix($0) }
        let alias = Doctor.shared.first { name.hasPrefix("crypto_\($0)") }
        let driver = alias.map { _ in "crypto_ipsec_mb" } ?? installed.max { $0.utf8.count < $1.utf8.count }
        guard let driver, installedDrivers.contains(driver) else {
            guard name.hasPrefix("crypto_") else {
                return .fail(
                    subject, "no crypto driver of DPDK's is called so",
                    "crypto_devices = [\"0000:3d:01.0\"], a PCI address, or a vdev: [\"crypto_aesni_mb0\"]")
            }
            return missing(driver ?? String(name.reversed().drop { $0.isNumber }.reversed()), subject)
        }
        if Doctor.others.contains(where: name.hasPrefix) {
            return .fail(subject, "it has no AES-128-GCM", "crypto_devices = [\"crypto_aesni_mb0\"]")
        }
        return .warn(
            subject, "\(driver) is software: a worker's own cryptography is faster, this is for tests",
            "offload = \"off\" in [[tunnel]], and no crypto_devices")
    }

    private func missing(_ driver: String, _ subject: String) -> Finding {
        .fail(
            subject,
            "DPDK's driver \(driver) is not installed (\(machine.calls.driverDirectory)/librte_\(driver).so.*)",
            Doctor.install(driver))
    }
}
