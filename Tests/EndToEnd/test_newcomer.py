"""A newcomer's way through docs/guides/site-to-site.md, typed line by line on a machine that had nothing of vpn-gw before:

    host 10.0.1.10 -- eth1 [site-a] eth2 -- bridge "wire" -- guest 192.0.2.2, and 10.0.2.10 behind the tunnel

The guest is a Linux kernel that knows what `vpn-gw export linux` printed. VPN_GW_PICTURES names a directory for what was on
the screen, the status page's picture and the whole transcript; a test's own directory otherwise.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpngw import browser as browsers
from vpngw import guest as guests
from vpngw import network as networks
from vpngw import screen as screens
from vpngw.browser import Browser
from vpngw.gateway import ROOT
from vpngw.guest import INTERFACE, Guest, make_wire
from vpngw.live import TRAFFIC, cores
from vpngw.machine import Machine, Said, Service, assert_human, package
from vpngw.network import Network, wait_until
from vpngw.screen import Screen

GUIDE = ROOT / "docs/guides/site-to-site.md"
# Without questions, and from no source but the file: what the package depends on is on a machine that builds it.
INSTALL = ("apt-get install --yes --no-install-recommends -o Dir::Etc::sourcelist=/dev/null "
           "-o Dir::Etc::sourceparts=/dev/null")
SPIS = ("0x00001001", "0x00002001")
URL = "http://127.0.0.1:9464"


class Guide:
    """The page: its lines to type, each of which is typed once, and its files."""

    def __init__(self, text: str):
        self.lines = [line for block in re.findall(r"^```sh(?: test)?\n(.*?)^```$", text, re.M | re.S)
                      for line in block.splitlines()]
        self.site, = re.findall(r"^```toml\n(# site-a\n.*?)^```$", text, re.M | re.S)
        self.more, = re.findall(r"^```toml end\n(.*?)^```$", text, re.M | re.S)

    def take(self, beginning: str) -> str:
        """The next line that begins so."""
        found = [line for line in self.lines if line.startswith(beginning)]
        assert found, f"the guide has no line {beginning!r} (any more): {self.lines}"
        self.lines.remove(found[0])
        return found[0]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """The picture above, without what is to be installed."""
    for reason in (None if package() else "there is no package (make deb)", networks.missing(), guests.missing(),
                   screens.missing()):
        if reason:
            pytest.skip(reason)
    absent = [tool for tool in ("unshare", "nsenter", "setpriv", "curl", "apt-get") if not shutil.which(tool)]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    network = Network(tmp_path)
    try:
        network.add("host", "site-a", "peer")
        network.veth(("host", "eth0"), ("site-a", "eth1"))
        network.veth(("site-a", "eth2"), ("peer", "gateway"))
        network.host("host", "10.0.1.10/24", "10.0.1.1")
        make_wire(network, "peer")
        network.ip("peer", "link", "set", "gateway", "master", "wire", "up")
        yield network
    finally:
        network.close()


class Walk:
    """The newcomer, the page in hand."""

    def __init__(self, network: Network, pictures: Path):
        self.network, self.pictures = network, pictures
        self.guide = Guide(GUIDE.read_text())
        self.machine = Machine(network, "site-a", package())
        self.service: Service | None = None

    def type(self, beginning: str, *expected: str, code: int | None = 0) -> Said:
        """Types the page's next line that begins so; each pattern must be found in what it says."""
        return self.see(self.machine.type(self.guide.take(beginning), code), *expected)

    def look(self, line: str, *expected: str) -> Said:
        """Types a line that is not the page's."""
        return self.see(self.machine.type(line), *expected)

    @staticmethod
    def see(said: Said, *expected: str) -> Said:
        for pattern in expected:
            assert re.search(pattern, said.text, re.M), f"{pattern!r} is not in what `{said.line}` says:\n{said.text}"
        return said

    def ping(self, count: int = 5) -> None:
        """Until so many are answered; each that went into the tunnel is answered through it, if late on a busy machine."""
        said = self.network.run("host", "ping", "-c", count, "-i", "0.2", "-w", "30", "10.0.2.10", check=False)
        self.machine.note("(at 10.0.1.10) ping 10.0.2.10", said)
        assert f" {count} received" in said, f"{said}\n{self.service.log.read_text()}"
        wait_until(lambda: len(set(self.associations(*SPIS).values())) == 1, lambda: str(self.associations()))

    def install(self) -> None:
        line = self.guide.take("apt-get install ./vpn-gw_*_amd64.deb")
        self.machine.type("cp /tmp/package.deb ./vpn-gw_0_amd64.deb")
        self.machine.type(line.replace("apt-get install", INSTALL), DEBIAN_FRONTEND="noninteractive")
        said = self.type("vpn-gw doctor", r"^ok +processor", r"^\d+ ok, \d+ to look at, \d+ to mend$", code=None)
        remedies_follow(said)

    def make_keys(self) -> None:
        self.type("vpn-gw keygen", "^keys/site-a/site-b-out.key$", "^keys/site-b/site-a-in.key$")
        assert "scp -rp keys/site-b root@site-b:" == self.guide.take("scp")
        self.machine.type("cp -rp keys/site-b /root/what-went-to-site-b")
        self.type("install -m 0600")
        self.type("rm -r keys")
        self.look("stat -c '%a %U %n' /etc/vpn-gw/keys/*", "^600 vpn-gw .*site-b-in.key$", "^600 vpn-gw .*site-b-out.key$")

    def write_the_site(self) -> None:
        # The page's machine has a second core; this one may not.
        text = self.guide.site.replace("worker_cores = [1]", f"worker_cores = [{cores()[-1]}]")
        self.machine.path("/etc/vpn-gw/site.toml").write_text(text)
        for number in (1, 2):
            self.type(f"ip address flush dev eth{number}")
        self.type("cd /etc/vpn-gw")
        self.type(
            "vpn-gw check", "^gateway site-a$", r"lan  protected +10\.0\.1\.1/24", r"protect  10\.0\.1\.0/24 to 10\.0\.2\.0/24",
            r"addresses +192\.0\.2\.1 to 192\.0\.2\.2", "inner MTU +1446 octets", "^1 warning$")
        said = self.type("vpn-gw doctor --config", "^ok +hugepages", r"^\d+ ok, \d+ to look at, 0 to mend$")
        remedies_follow(said)

    def start(self) -> None:
        assert self.guide.take("systemctl enable --now vpn-gw")
        self.service = Service(self.machine, "vpn-gw")
        self.service.start()
        assert self.guide.take("systemctl status vpn-gw")
        assert self.service.status().startswith("0 of 1 tunnels up; "), self.service.status()

    def connect_the_peer(self) -> Guest:
        self.type("vpn-gw export linux", "^ip xfrm state add src 192.0.2.1 dst 192.0.2.2 .*0xKEY_TO_HERE", "^ip route replace")
        self.type("vpn-gw export vpp", "192.0.2.2")
        line = self.guide.take("vpn-gw export linux")
        assert line.endswith(" --with-keys | ssh root@peer sh")
        printed = self.machine.path("/root/at-the-peer")
        self.machine.type(f"(umask 077 && {line.replace(' | ssh root@peer sh', ' > /root/at-the-peer')})")
        # Its addresses are its own affair.
        guest = Guest.set_up_by(
            self.network, "peer", ["address add 192.0.2.2/24 dev eth0", "address add 10.0.2.10/32 dev lo"],
            script=printed.read_text())
        printed.unlink()
        self.ping()
        self.service.manager.wait_for("STATUS=1 of 1 tunnels up; ")
        assert self.guide.take("journalctl -u vpn-gw -p notice")
        assert [line for line in self.service.journal(5) if "tunnel site-b: up" in line], self.service.log.read_text()
        assert self.service.journal(3) == []
        return guest

    def look_around(self) -> None:
        self.type("vpn-gw show sa", r"^site-b +outbound +0x00001001 .* \d +\d{3} ", r"^site-b +inbound +0x00002001 .* \d +\d{3} ")
        self.type("vpn-gw show drops")
        self.type("vpn-gw show ports", "^lan ", "^wan ")
        for subject, pattern in {"spd": r"10\.0\.1\.0/24", "workers": rf"\b{cores()[-1]}\b", "offload": "site-b",
                                 "neighbors": r"192\.0\.2\.2 .*([0-9a-f]{2}:){5}", "routes": r"10\.0\.1\.0/24",
                                 "summary": "site-a"}.items():
            self.look(f"vpn-gw show {subject}", pattern)

    def watch_top(self) -> None:
        line = self.guide.take("vpn-gw top").split("#")[0].strip()
        screen = Screen(self.network.directory, shlex.join(self.machine.enter()))
        try:
            screen.run(line)
            screen.wait("1 of 1 tunnels up")
            self.ping(20)
            self.network.run("host", "ping", "-c", "1", "-W", "1", "-t", "1", "10.0.2.10", check=False)
            screen.wait("ttl_expired")
            text = screen.text()
            (self.pictures / "top.txt").write_text(text + "\n")
            self.machine.note(line, text + "\n")
            assert_human(text)
            for word in ("site-a", "lan", "wan", "site-b", "BUSY"):
                assert word in text, text
            assert len(screen.lines()) <= 24 and all(len(row) <= 80 for row in screen.lines()), text
            screen.type("q")
            wait_until(lambda: screen.state("alternate_on") == "0", screen.text)
            screen.run("echo ended $?")
            screen.wait("ended 0")
        finally:
            screen.close()

    def trace(self) -> None:
        line = self.guide.take("vpn-gw trace").split("#")[0].strip()
        log = self.network.directory / "trace.log"
        trace = self.machine.start(line, log)
        wait_until(lambda: "a trace begins" in self.service.log.read_text() or trace.poll() is not None, log.read_text)
        assert trace.poll() is None, log.read_text()
        self.ping()
        assert trace.wait(30) == 0, log.read_text()
        self.machine.note(line, log.read_text())
        self.see(Said(line, 0, "", log.read_text()), r"received +on port lan", r"policy +protect by tunnel site-b",
                 r"protected +SA 0x00001001 of tunnel site-b, in software", r"^vpn-gw: 3 packet\(s\)$", "the ICV is right")
        assert_human(log.read_text())

    def scrape(self) -> None:
        said = self.type("curl -s http://127.0.0.1:9464/metrics", "^vpngw_sa_packets_total", 'vpngw_tunnels{.*"up".*} 1$')
        if shutil.which("promtool"):
            # promtool knows Prometheus' own format.
            metrics = self.look(f"curl -s -H 'Accept: text/plain' {URL}/metrics")
            path = self.network.directory / "metrics.txt"
            path.write_text(metrics.stdout)
            checked = self.network.run("site-a", "sh", "-c", f"promtool check metrics <{path} 2>&1", check=False)
            assert checked == "", checked
        assert said.stdout.endswith("# EOF\n")
        if browsers.missing() is None:
            browser = Browser(self.network, "site-a")
            try:
                browser.open(f"{URL}/")
                browser.wait(lambda: "1 of 1 tunnels up" in browser.text())
                self.ping(20)
                browser.wait(lambda: browser.value("document.querySelectorAll('path.one')[0].getAttribute('d').length") > 20)
                assert "site-b" in browser.text() and browser.complaints() == []
                browser.screenshot(self.pictures / "page.png")
            finally:
                browser.close()

    def add_a_tunnel(self) -> None:
        self.machine.where = "/root"
        self.type("vpn-gw keygen", "^keys-c/site-a/site-c-out.key$")
        assert self.guide.take("scp") == "scp -rp keys-c/site-c root@site-c:"
        self.type("install -m 0600")
        self.type("rm -r keys-c")
        self.machine.where = "/etc/vpn-gw"
        with self.machine.path("/etc/vpn-gw/site.toml").open("a") as site:
            site.write(f"\n{self.guide.more}")
        check, reload = self.guide.take("vpn-gw check").split(" && ")
        assert reload == "systemctl reload vpn-gw"
        self.look(check, "^tunnel site-c$", "^1 warning$")
        before = self.associations()
        self.see(self.service.reload(), "^tunnel site-c: added$", "^SA pairs: 1 unchanged, 1 installed, 0 removed$")
        self.service.manager.wait_for("STATUS=1 of 2 tunnels up; ")
        self.ping()
        after = self.associations()
        assert set(after) - set(before) == {"0x00001002", "0x00002002"}
        # What did not change went on.
        assert all(after[spi] >= before[spi] + 5 for spi in before), (before, after)

    def associations(self, *spis: str) -> dict[str, int]:
        """Packets by SPI, of these or of all."""
        done = subprocess.run(self.machine.shell("vpn-gw show sa --json"), capture_output=True, text=True, check=True)
        return {row["spi"]: row["packets"] for row in json.loads(done.stdout)["sas"] if row["spi"] in spis or not spis}

    def stop(self, guest: Guest) -> None:
        # The guest's kernel says what it counted once somebody connects through the tunnel.
        self.network.run("host", sys.executable, TRAFFIC, "send", "10.0.2.10", 6000, 1)
        guest.wait_for("guest: end")
        guest.assert_no_errors(2)
        assert self.guide.take("systemctl disable --now vpn-gw")
        self.service.manager.wait_for("^WATCHDOG=1$")
        code = self.service.stop()
        assert code == 0, self.service.log.read_text()
        assert "STOPPING=1\nSTATUS=stopping" in self.service.manager.said()
        guest.stop()
        self.machine.note("journalctl -u vpn-gw", self.service.log.read_text())
        assert_human(self.service.log.read_text())
        self.read_the_last_words()

    def read_the_last_words(self) -> None:
        """Every packet is accounted for, nothing is wrong, and the one warning is the keys'."""
        lines = self.service.journal()
        counted, = (re.match(r"received (\d+), originated (\d+), sent (\d+), consumed (\d+), dropped (\d+), in flight 0$", line)
                    for line in lines if line.startswith("received "))
        assert counted, lines
        received, originated, sent, consumed, dropped = map(int, counted.groups())
        assert received + originated == sent + consumed + dropped > 0, lines
        drops = dict(re.match(r"dropped (\w+): (\d+)", line).groups() for line in lines if line.startswith("dropped "))
        # The bridge and the guest speak IPv6 unasked; and one packet had a TTL of 1.
        assert drops.keys() <= {"not_for_us", "ttl_expired"} and drops["ttl_expired"] == "1", drops
        assert sum(map(int, drops.values())) == dropped
        assert all("static keys" in line for line in self.service.journal(4)) and lines[-1] == "stopped", lines

    def purge(self) -> None:
        line = self.guide.take("apt-get purge vpn-gw")
        said = self.machine.type(line.replace("purge", "purge --yes"), DEBIAN_FRONTEND="noninteractive")
        assert said.text.count("its keys must not be used again") == 2, said.text
        self.look("ls /var/lib/vpn-gw /etc/vpn-gw/keys", "^site-b-out.key$")
        for name in ("/usr/bin/vpn-gw", "/lib/systemd/system/vpn-gw.service", "/usr/share/doc/vpn-gw"):
            assert not self.machine.path(name).exists(), name


def remedies_follow(said: Said) -> None:
    """Below each line of doctor's that is not ok stands what mends it."""
    lines = said.text.splitlines()
    for line, following in zip(lines, lines[1:]):
        assert not re.match("warn|fail", line) or re.match(" +-> .", following), said.text


@pytest.mark.timeout(420)
def test_the_newcomers_walk(network: Network, tmp_path: Path) -> None:
    pictures = Path(os.environ.get("VPN_GW_PICTURES") or tmp_path)
    walk = Walk(network, pictures)
    try:
        walk.install()
        walk.make_keys()
        walk.write_the_site()
        walk.start()
        guest = walk.connect_the_peer()
        walk.look_around()
        walk.watch_top()
        walk.trace()
        walk.scrape()
        walk.add_a_tunnel()
        walk.stop(guest)
        walk.purge()
    finally:
        if walk.machine.transcript.exists() and pictures != tmp_path:
            shutil.copy(walk.machine.transcript, pictures / "transcript.txt")
        if walk.service:
            walk.service.manager.close()
    assert walk.guide.lines == [], "lines of the guide that nobody typed"
