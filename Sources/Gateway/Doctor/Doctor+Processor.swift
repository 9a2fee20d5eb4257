/// Processors, their clocks, and who else runs on them.
extension Doctor {
    var processor: Finding {
        let features = ProcessorFeatures(machine.text("/proc/cpuinfo") ?? "")
        guard !features.names.isEmpty else {
            return .warn("processor", "the kernel does not say what it can do (/proc/cpuinfo)")
        }
        if let refusal = features.refusal { return .fail("processor", refusal) }
        let missing = ["aes", "pclmulqdq"].filter { !features.names.contains($0) }
        guard missing.isEmpty else {
            return .fail(
                "processor", "it has no AES instructions (\(missing.joined(separator: ", "))): libipsec-mb needs them",
                "switch them on in the firmware, or give the virtual machine the host's processor model")
        }
        let wide = ["vaes", "vpclmulqdq", "avx512f", "avx512vl", "avx512bw"].allSatisfy(features.names.contains)
        let words = wide ? ", VAES and AVX-512: the fastest code" : features.names.contains("vaes") ? ", VAES" : ""
        return .ok("processor", "x86-64-v3 and AES instructions\(words)")
    }

    var clock: Finding {
        let features = ProcessorFeatures(machine.text("/proc/cpuinfo") ?? "").names
        let missing = ["constant_tsc", "nonstop_tsc"].filter { !features.contains($0) }
        guard missing.isEmpty else {
            return .warn(
                "clock",
                "the time stamp counter may change its pace (no \(missing.joined(separator: ", "))): "
                    + "rate limits and time-outs of workers go with it", "fix the frequency in the firmware")
        }
        let directory = "/sys/devices/system/clocksource/clocksource0"
        guard let source = machine.text("\(directory)/current_clocksource"), !source.isEmpty else {
            return .ok("clock", "the time stamp counter is invariant")
        }
        let others = (machine.text("\(directory)/available_clocksource") ?? "").split(separator: " ")
        // In a virtual machine the host's clock is as good; elsewhere the kernel has found the counter unfit.
        if source == "tsc" || source.hasPrefix("kvm") || source.hasPrefix("hyperv") || source == "xen" {
            return .ok("clock", "the time stamp counter is invariant, the kernel's clock is \(source)")
        }
        return others.contains("tsc")
            ? .warn(
                "clock", "the kernel's clock is \(source), which is slow", "echo tsc > \(directory)/current_clocksource"
            )
            : .warn(
                "clock",
                "the kernel does not trust the time stamp counter, and workers use it: "
                    + "its clock is \(source)", "dmesg | grep -i tsc")
    }

    var time: Finding {
        switch machine.calls.isClockSynchronized() {
        case true?: .ok("time", "the system clock is synchronized")
        case false?:
            .warn(
                "time",
                "the system clock follows no other: key changes by not_before need both ends' clocks, and a "
                    + "clock that was set back keeps the gateway from starting", "timedatectl set-ntp true")
        case nil: .warn("time", "the kernel does not say whether the system clock is synchronized")
        }
    }

    /// One finding for each worker's core, or one for the machine.
    var cores: [Finding] {
        let isolated = Set(Surroundings.numbers(machine.text("/sys/devices/system/cpu/isolated") ?? ""))
        guard let site else {
            let list = isolated.sorted().map(String.init).joined(separator: ", ")
            return [
                isolated.isEmpty
                    ? .warn(
                        "cores",
                        "no core is kept free for workers (\(privileges.processors.count) are there): on cores "
                            + "that others use, bursts are lost",
                        "kernel command line: isolcpus=managed_irq,domain,N nohz_full=N rcu_nocbs=N")
                    : .ok("cores", "isolated: \(list)")
            ]
        }
        return site.dpdk.workerCores.map { core in
            let subject = "core \(core)"
            guard privileges.processors.contains(core) else {
                let list = privileges.processors.map(String.init).joined(separator: ", ")
                return .fail(
                    subject, "it is not there for this process, which may use \(list)",
                    "worker_cores = [\(privileges.processors.last ?? 0)] in [dpdk]")
            }
            let topology = "/sys/devices/system/cpu/cpu\(core)/topology/thread_siblings_list"
            let siblings = Surroundings.numbers(machine.text(topology) ?? "")
            let shared = siblings.filter { $0 != core && site.dpdk.workerCores.contains($0) }
            if let other = shared.first {
                return .warn(
                    subject, "it is the same physical core as worker core \(other): each gets half",
                    "choose cores with different `lscpu -e=cpu,core`")
            }
            guard isolated.contains(core) else {
                return .warn(
                    subject, "others run there too: bursts are lost while they do",
                    "kernel command line: isolcpus=managed_irq,domain,\(core) nohz_full=\(core) rcu_nocbs=\(core)")
            }
            return .ok(subject, "isolated")
        }
    }

    var governors: [Finding] {
        let cores = site?.dpdk.workerCores ?? privileges.processors
        let found = cores.compactMap { core in
            machine.text("/sys/devices/system/cpu/cpu\(core)/cpufreq/scaling_governor").map { (core, $0) }
        }
        let slow = found.filter { $0.1 != "performance" }
        if found.isEmpty { return [.ok("governor", "the frequency is not the kernel's to change")] }
        guard let first = slow.first else { return [.ok("governor", "performance")] }
        let list = slow.map { String($0.0) }.joined(separator: ",")
        return [
            .warn(
                "governor", "core(s) \(list) may run slower than they can (\(first.1))",
                "cpupower -c \(list) frequency-set -g performance")
        ]
    }
}
