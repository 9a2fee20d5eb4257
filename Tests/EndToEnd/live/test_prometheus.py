"""A real Prometheus scrapes a real gateway, and evaluates the alerts that ship with it."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.parse

import pytest

from vpngw.gateway import ROOT
from vpngw.live import Sites, echo
from vpngw.network import wait_until

FETCH = "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed (prometheus)")
def test_prometheus_takes_the_metrics_and_the_alerts(sites: Sites):
    directory, network = sites.site_a.directory, sites.network
    sites.site_a.extra = 'metrics_address = "127.0.0.1:9464"'
    sites.start()
    config = directory / "prometheus.yml"
    config.write_text(json.dumps({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "configs/prometheus/vpn-gw.rules.yml")],
        "scrape_configs": [{"job_name": "vpn-gw", "static_configs": [{"targets": ["127.0.0.1:9464"]}]}]}))
    log = directory / "prometheus.log"
    process = network.start(
        "gw-a", "prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}",
        "--web.listen-address=127.0.0.1:9090", log=log)

    def ask(path: str) -> dict:
        text = network.run("gw-a", sys.executable, "-c", FETCH, f"http://127.0.0.1:9090/api/v1/{path}", check=False)
        return json.loads(text)["data"] if text else {}

    def query(expression: str) -> dict[str, float]:
        """Values by their labels."""
        rows = ask("query?" + urllib.parse.urlencode({"query": expression})).get("result", [])
        return {json.dumps({k: v for k, v in row["metric"].items() if k not in ("job", "instance", "__name__")},
                           sort_keys=True): float(row["value"][1]) for row in rows}

    wait_until(lambda: query('up{job="vpn-gw"}') == {"{}": 1.0}, lambda: log.read_text(), 40)
    echo(network, "host-a", "10.0.2.10", 0, 9)
    sent = 'vpngw_sa_packets_total{direction="outbound"}'
    wait_until(lambda: list(query(sent).values()) == [10.0], lambda: str(query(sent)), 20)
    wait_until(lambda: query("vpngw_tunnels") == {
        '{"state": "up"}': 1.0, '{"state": "down"}': 0.0, '{"state": "quiet"}': 0.0}, lambda: str(query("vpngw_tunnels")))
    # Prometheus knows each family's type and help: it read them as OpenMetrics.
    kinds = {name: rows[0]["type"] for name, rows in ask("metadata").items() if name.startswith("vpngw_")}
    assert kinds["vpngw_drops"] == "counter" and kinds["vpngw_tunnels"] == "gauge" and kinds["vpngw_build"] == "info"
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    wait_until(lambda: all(rule["health"] == "ok" for group in ask("rules")["groups"] for rule in group["rules"]),
               lambda: str(rules))
    assert len(rules) == 8 and all(rule["state"] == "inactive" for rule in rules)
    # Every panel's question is one that Prometheus understands.
    dashboard = json.loads((ROOT / "configs/grafana/vpn-gw.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
            assert ask("query?" + urllib.parse.urlencode({"query": expression}))["resultType"] == "vector", expression
    process.terminate()
    process.wait(20)
    sites.stop()
