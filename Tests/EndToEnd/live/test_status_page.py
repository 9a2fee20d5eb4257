"""The status page in a real browser: what it shows, on a desk and on a phone, and when the gateway is gone."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest

from vpngw.browser import Browser, missing
from vpngw.live import Sites, echo
from vpngw.network import wait_until

FETCH = "import sys, urllib.request; r = urllib.request.urlopen(sys.argv[1], timeout=5); print(r.headers, r.read().decode())"
URL = "http://127.0.0.1:9464"
# Where to keep the pictures; a test's own directory otherwise.
PICTURES = os.environ.get("VPN_GW_PICTURES")


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
def test_the_page_in_a_browser(sites: Sites):
    sites.site_a.extra = 'metrics_address = "127.0.0.1:9464"'
    sites.start()
    pictures = Path(PICTURES) if PICTURES else sites.network.directory
    browser = Browser(sites.network, "gw-a")
    try:
        browser.open(f"{URL}/")
        browser.wait(lambda: "1 of 1 tunnels up" in (echo(sites.network, "host-a", "10.0.2.10", 0, 9)
                                                     or browser.text()))
        sites.network.run("host-a", "ping", "-c", 1, "-W", 1, "-t", 1, "10.0.2.10", check=False)
        browser.wait(lambda: "ttl_expired" in browser.text())
        # Something is drawn of what has passed.
        browser.wait(lambda: browser.value("document.querySelectorAll('path.one')[0].getAttribute('d').length") > 20)
        text = browser.text()
        for word in ("gw-a", "software / software", "192.0.2.2", "lan", "wan", "its TTL or hop limit", "Busy", "bit/s"):
            assert word in text, text
        assert browser.value("document.title") == "gw-a – vpn-gw"
        browser.screenshot(pictures / "desk.png")
        assert browser.complaints() == []
        up = browser.value("getComputedStyle(document.getElementById('state')).color")
        # Every column has a head: what a row has, heads span. The charts say which time they show.
        for table in ("tunnels", "ports", "workers", "drops"):
            heads, cells = (browser.value(
                f"[...[...document.querySelectorAll('#{table} tr')].at({row}).cells].reduce((sum, cell) => sum + cell.colSpan, 0)")
                for row in (0, -1))
            assert heads == cells > 0, (table, heads, cells)
        assert browser.value("[...document.querySelectorAll('th')].every(head => head.textContent)")
        assert text.count("5 minutes ago") == 3, text
        browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        browser.screenshot(pictures / "desk-dark.png")
        browser.ask("Emulation.setEmulatedMedia", features=[])

        browser.resize(360, 740, mobile=True)
        wide = browser.value("document.documentElement.scrollWidth")
        assert wide <= 360, f"the page is {wide} wide on a phone"
        browser.screenshot(pictures / "phone.png")

        # The page does not obey what stands in it, and loads nothing.
        assert browser.value("performance.getEntriesByType('resource').every(r => r.name.startsWith(location.origin))")

        browser.resize(1280, 900)
        sites.a.stop()
        browser.wait(lambda: re.search(r"does not answer\. What is below is of .*\d:\d\d.*, 00:00:\d\d ago\.", browser.text()))
        assert browser.value("document.body.classList.contains('gone')") and browser.value("document.title") == "gw-a – no answer"
        gone = browser.value("getComputedStyle(document.getElementById('state')).color")
        assert gone != up, "a gateway that is gone looks as one whose tunnels are up"
        # The last numbers stay to be read.
        assert "192.0.2.2" in browser.text()
        browser.screenshot(pictures / "gone.png")
        browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        browser.screenshot(pictures / "gone-dark.png")
    finally:
        browser.close()
    sites.b.stop()


def test_the_page_lets_nothing_else_run(sites: Sites):
    sites.site_a.extra = 'metrics_address = "127.0.0.1:9464"'
    sites.start()
    one, two = (sites.network.run("gw-a", sys.executable, "-c", FETCH, f"{URL}/") for _ in range(2))
    policy = next(line for line in one.splitlines() if line.lower().startswith("content-security-policy"))
    assert "default-src 'none'" in policy and "unsafe" not in policy and "connect-src 'self'" in policy
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert one.count(f'nonce="{nonce}"') == 2 and nonce not in two
    assert "http://" not in one.replace("http://www.w3.org/2000/svg", "") and "https://" not in one
    assert '"busiest_tunnels"' in sites.network.run("gw-a", sys.executable, "-c", FETCH, f"{URL}/status.json")
    sites.stop()


def test_a_flood_of_slow_clients_costs_packets_nothing(sites: Sites):
    """More clients than there may be, each with half a request, and others that ask without end: packets pass, whoever
    watches health is answered once there is room, and the slow ones are gone after their time."""
    sites.site_a.extra = 'metrics_address = "127.0.0.1:9464"'
    sites.start()
    slow = []
    for _ in range(100):
        client = sites.network.socket("gw-a", socket.AF_INET, socket.SOCK_STREAM)
        client.settimeout(5)
        client.connect(("127.0.0.1", 9464))
        try:
            client.sendall(b"GET /metrics HTT")
        except OSError:  # one too many was closed already
            pass
        slow.append(client)
    echo(sites.network, "host-a", "10.0.2.10", 0, 200)
    assert sum(client.recv(12) == b"HTTP/1.1 503" for client in slow[32:]) >= 60
    health = [sys.executable, "-c", FETCH, f"{URL}/healthz"]
    wait_until(lambda: "ok" in sites.network.run("gw-a", *health, check=False), "no answer after the slow ones' time", 30)
    report = sites.a.show("report")
    assert report["dropped_packets"] == sum(report["drops"].values()) and not set(report["drops"]) - {"not_for_us"}
    sites.stop()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed (prometheus)")
def test_promtool_takes_the_metrics(sites: Sites):
    sites.site_a.extra = 'metrics_address = "127.0.0.1:9464"'
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 3)
    text = "import sys, urllib.request; r = urllib.request.Request(sys.argv[1], headers={'Accept': 'text/plain'}); "
    text += "sys.stdout.write(urllib.request.urlopen(r, timeout=5).read().decode())"
    metrics = sites.network.run("gw-a", sys.executable, "-c", text, f"{URL}/metrics")
    path = sites.network.directory / "metrics.txt"
    path.write_text(metrics)
    said = sites.network.run("gw-a", "sh", "-c", f"promtool check metrics <{path} 2>&1")
    assert said == ""
    for name in ("vpngw_worker_busy_seconds_total", "vpngw_sa_packets_total", "vpngw_drops_total"):
        assert f"# TYPE {name} counter\n" in metrics
    sites.stop()
