import Foundation
import IPsec
import Testing

@testable import Gateway

@Suite("Metrics over TCP")
struct ControlMetricsTests {
    static let report = Report(
        rxPackets: 100, originatedPackets: 2, txPackets: 95, consumedPackets: 3, droppedPackets: 4, inFlightPackets: 0,
        ports: ["wan": .init(rxPackets: 1, rxOctets: 2, txPackets: 3, txOctets: UInt64.max)],
        drops: ["replayed": 1, "integrity_failed": 3], sas: [], isConserved: true)

    static let counters = ControlCounters(
        workers: [.init(busySeconds: 1.5, polls: 9, handedOver: 4)], softLifetimeEvents: 5, hardLifetimeEvents: 6,
        storeCommits: 7,
        storeWrittenOctets: 8)

    private func ask(_ rig: ControlRig, _ method: String, _ path: String) async throws -> Answer {
        let port = try #require(rig.server.metricsPort)
        return try await offPool { try RawConnection(port: port).ask(method, path) }
    }

    @Test("every line is OpenMetrics, and the numbers are the report's")
    func metrics() async throws {
        try await ControlRig.run(metrics: "127.0.0.1:0") { rig in
            var row = ControlClientTests.association
            row.tunnel = "\"b\\\""
            let rows = [row]
            rig.target.with {
                $0.views = [.report: .report(Self.report), .sa: .sa(rows)]
                $0.counters = Self.counters
            }
            let answer = try await ask(rig, "GET", "/metrics")
            #expect(answer.status == 200 && answer.head.contains("content-type: application/openmetrics-text"))
            let lines = answer.body.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
            #expect(Array(lines.suffix(2)) == ["# EOF", ""])
            for expected in [
                "vpngw_packets_total{stage=\"rx\"} 100", "vpngw_packets_total{stage=\"dropped\"} 4",
                "vpngw_drops_total{reason=\"replayed\"} 1", "vpngw_drops_total{reason=\"late\"} 0",
                "vpngw_port_octets_total{port=\"wan\",direction=\"tx\"} 18446744073709551615",
                "vpngw_sa_packets_total{tunnel=\"\\\"b\\\\\\\"\",spi=\"0x00001001\",direction=\"outbound\"} 12345",
                "vpngw_lifetime_events_total{kind=\"hard\"} 6", "vpngw_store_commits_total 7",
                "vpngw_store_written_octets_total 8", "vpngw_sas 1",
                "vpngw_worker_busy_seconds_total{worker=\"0\"} 1.500000", "vpngw_worker_polls_total{worker=\"0\"} 9",
                "vpngw_worker_handed_over_packets_total{worker=\"0\"} 4",
            ] {
                #expect(lines.contains(expected), "\(expected)")
            }
            var family = ""
            for line in lines.dropLast(2) {
                if line.hasPrefix("# TYPE ") { family = String(line.split(separator: " ")[2]) }
                #expect(
                    line.hasPrefix("# TYPE \(family) ") || line.hasPrefix("# HELP \(family) ")
                        || line.wholeMatch(of: /[a-z_]+(\{([a-z]+="([^"\\]|\\.)*",?)+\})? [0-9.]+/) != nil
                            && line.hasPrefix(family),
                    "\(line)")
            }
            #expect(lines.count { $0.hasPrefix("vpngw_drops_total") } == DropReason.allCases.count)
        }
    }

    @Test("series of SAs are bounded")
    func bounded() {
        let rows = [ControlView.Association](
            repeating: ControlClientTests.association, count: MetricsText.associationLimit + 9)
        let text = MetricsText(report: Self.report, associations: rows, counters: ControlCounters(), name: "a").text
        #expect(text.ranges(of: "\nvpngw_sa_packets_total{").count == MetricsText.associationLimit)
        #expect(text.contains("vpngw_sas \(rows.count)\n"))
    }

    @Test("health is 200 while workers advance, 503 otherwise; nothing else is served, and nothing can be changed")
    func health() async throws {
        try await ControlRig.run(metrics: "127.0.0.1:0") { rig in
            let healthy = try await ask(rig, "GET", "/healthz")
            #expect(healthy.status == 200)
            rig.target.with { $0.isHealthy = false }
            #expect(try await ask(rig, "GET", "/healthz").status == 503)
            #expect(try await ask(rig, "POST", "/metrics").status == 405)
            for path in ["/index.html", "/v1", "/v1/sa", "/v1/reload", "/v1/observe/start"] {
                #expect(try await ask(rig, "GET", path).status == 404)
                #expect(try await ask(rig, "POST", path).status == 404)
            }
            #expect(rig.target.calls == [])
            rig.target.with { $0.views[.report] = .report(Self.report) }
            #expect(try await ask(rig, "GET", "/metrics").status == 500, "no SAs to be had")
        }
    }

    @Test("who takes plain text and not OpenMetrics gets the older format: families named as their samples")
    func prometheus() {
        for (accept, isOpen) in [
            ("", true), ("*/*", true), ("text/plain", false),
            ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", true),
            ("text/plain;version=0.0.4;q=0.3,*/*;q=0.2", false),
        ] {
            #expect((MetricsText.Format(accept: accept) == .openMetrics) == isOpen, "\(accept)")
        }
        let text = MetricsText(
            report: Self.report, associations: [ControlClientTests.association], counters: Self.counters, name: "a",
            format: .prometheus
        ).text
        #expect(!text.contains("# EOF") && text.contains("# TYPE vpngw_build_info gauge\n"))
        var family = ""
        for line in text.split(separator: "\n") {
            if line.hasPrefix("# TYPE ") { family = String(line.split(separator: " ")[2]) }
            #expect(line.hasPrefix("#") || line.prefix { $0 != "{" && $0 != " " } == family, "\(line)")
        }
    }

    @Test("the page and what it asks for, which no long view holds up")
    func page() async throws {
        try await ControlRig.run(metrics: "127.0.0.1:0") { rig in
            let page = try await ask(rig, "GET", "/")
            #expect(page.status == 200 && page.head.contains("content-type: text/html"))
            for field in ["content-security-policy: default-src 'none'; script-src 'nonce-", "cache-control: no-store"]
            {
                #expect(page.head.contains(field), "\(page.head)")
            }
            #expect(!page.head.contains("unsafe") && !page.body.contains("NONCE"))
            #expect(try await ask(rig, "POST", "/").status == 405)
            #expect(rig.target.calls == [])
            #expect(try await ask(rig, "GET", "/status.json").status == 500, "no summary to be had")
            rig.target.with { $0.views[.summary] = .drops([.replayed: 3]) }
            #expect(try await ask(rig, "GET", "/status.json").json["drops"] as? [String: Int] == ["replayed": 3])
        }
    }

    @Test("a port that is taken is a warning, and the control socket works without")
    func taken() async throws {
        try await ControlRig.run(metrics: "127.0.0.1:0") { rig in
            let port = try #require(rig.server.metricsPort), directory = try ControlDirectory()
            let (logger, log) = KeepingLog.make()
            let second = try await ControlServer.start(
                socketPath: directory.socket, metricsAddress: "127.0.0.1:\(port)", name: "b", target: FakeTarget(),
                logger: logger)
            #expect(second.metricsPort == nil)
            #expect(log.all.count == 1 && log.all[0].contains("127.0.0.1:\(port)"))
            let socket = directory.socket
            let answer = try await offPool { try RawConnection(path: socket).ask("GET", "/v1") }
            #expect(answer.status == 200)
            await second.stop()
        }
    }
}
