"""User-Mode Linux: a guest with a kernel of its own, whose ESP nobody here wrote, and the cable to it.

    host 10.0.1.10, fd00:1::10 -- lan [gw] wan -- bridge "wire" -- tap "guest" == eth0 of the guest
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from .live import AF_PACKET, TRAFFIC, LiveGateway, cores
from .network import Network, wait_until
from .site import Port, Site, Tunnel

MEMORY_MIB = 256
INTERFACE = "guest"
HOST = {4: "10.0.1.10", 6: "fd00:1::10"}
LOCAL = {4: "192.0.2.1", 6: "fd00:ff::1"}
GUEST = {4: "192.0.2.2", 6: "fd00:ff::2"}
SUBNET = {4: "10.0.1.0/24", 6: "fd00:1::/64"}


def missing() -> str | None:
    """Why there can be no guest here; None where there can."""
    if shutil.which("linux.uml") is None:
        return "User-Mode Linux is not installed (user-mode-linux)"
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun for the guest's network card"
    return None


def skip_without_guests() -> None:
    """Skips the test that asks where there can be none."""
    if reason := missing():
        pytest.skip(reason)


class Guest:
    """A running guest. Its memory is a file: in /dev/shm where there is room."""

    def __init__(self, network: Network, name: str, init: str = "guest-init.sh", **words: object):
        """In a namespace that has a tap for it; `init` is its first process, and `words` are on its command line."""
        room = os.statvfs("/dev/shm")
        memory = "/dev/shm" if room.f_bavail * room.f_frsize > MEMORY_MIB << 20 else str(network.directory)
        self.log = network.directory / "guest.log"
        arguments = [f"{key}={value}" for key, value in {"TRAFFIC": TRAFFIC, **words}.items()]
        self._process = network.start(
            name, "linux.uml", f"mem={MEMORY_MIB}M", "rootfstype=hostfs", "rootflags=/", "ro",
            f"init={Path(__file__).with_name(init)}", "con=null", "con0=null,fd:1", f"uml_dir={network.directory}",
            "umid=guest", "quiet", f"eth0=tuntap,{INTERFACE}", *arguments, log=self.log,
            env={**os.environ, "TMPDIR": memory})

    @classmethod
    def with_keys_of(cls, network: Network, name: str, tunnel: Tunnel, **words: object) -> Guest:
        """A guest that is the other end of one plain tunnel: see guest-init.sh."""
        return cls(
            network, name, KEY_OUT=f"0x{tunnel.inbound_key.hex()}", KEY_IN=f"0x{tunnel.outbound_key.hex()}", **words)

    @classmethod
    def set_up_by(cls, network: Network, name: str, commands: list[str], last_port: int = 6000,
                  script: str | None = None) -> Guest:
        """A guest that was told `ip COMMAND` for each command, then a shell script, all of which it took; then it receives
        a TCP transfer on each port from 6001 to the last: see guest-modes.sh."""
        setup = network.directory / "guest-setup"
        setup.write_text("\n".join(commands) + "\n")
        words = {"SETUP": setup, "PORTS": last_port}
        if script is not None:
            words["SCRIPT"] = network.directory / "guest-script.sh"
            words["SCRIPT"].touch(0o600)
            words["SCRIPT"].write_text(script)
        guest = cls(network, name, "guest-modes.sh", **words)
        guest.wait_for("guest: ready")
        guest.wait_for("guest: ESP in UDP")
        guest.wait_for("listening", times=2 if last_port > 6000 else 1)
        guest.assert_nothing_refused()
        return guest

    def lines(self) -> list[str]:
        return self.log.read_text(errors="replace").replace("\r", "").splitlines()

    def wait_for(self, text: str, seconds: float = 60, times: int = 1) -> str:
        """The line in which `text` comes for the nth time; what the guest said as the failure."""
        def found() -> list[str]:
            return [line for line in self.lines() if text in line]
        wait_until(
            lambda: len(found()) >= times or self._process.poll() is not None, lambda: "\n".join(self.lines()), seconds)
        assert len(found()) >= times, "\n".join(self.lines())
        return found()[times - 1]

    def assert_nothing_refused(self) -> None:
        """Its kernel took every SA, policy and command."""
        assert not [line for line in self.lines() if "refused" in line], self.lines()

    def assert_no_errors(self, associations: int) -> None:
        """What it said of its SAs at the end: so many, and neither they nor its XFRM counted an error."""
        said = self.lines()
        states = said[said.index("guest: SAs"):said.index("guest: errors")]
        counted = re.findall(r"replay-window (\d+) replay (\d+) failed (\d+)", " ".join(states))
        assert counted == [("0", "0", "0")] * associations, states
        assert said[said.index("guest: errors") + 1:said.index("guest: end")] == []

    def stop(self) -> None:
        """Turns it off: its kernel takes SIGTERM for that."""
        self._process.terminate()
        self._process.wait(10)


def make_wire(network: Network, name: str) -> None:
    """A bridge in a namespace, with a tap for the guest in it. What else is to be on the wire is put in it."""
    network.ip(name, "link", "add", "wire", "type", "bridge", "mcast_snooping", "0")
    network.ip(name, "link", "set", "wire", "up")
    network.ip(name, "tuntap", "add", "dev", INTERFACE, "mode", "tap")
    network.ip(name, "link", "set", INTERFACE, "master", "wire", "up")


@dataclass
class GuestSite:
    """A host, a gateway and a guest as in this file's picture, cabled, not started."""

    network: Network
    site: Site

    def start(self) -> LiveGateway:
        """The gateway, until it runs and is on the wire: DPDK makes a tap of its own for it."""
        gateway = LiveGateway(self.network, "gw", self.site.write()).wait_running()
        # The kernel's end of a DPDK tap has the port's own MAC address, and a bridge keeps what is for its own
        # interfaces.
        self.network.ip("gw", "link", "set", "wan", "address", "02:00:00:00:00:01")
        self.network.ip("gw", "link", "set", "wan", "master", "wire", "up")
        return gateway


def make_guest_site(network: Network, tunnels: list[Tunnel], families: tuple[int, ...] = (4,)) -> GuestSite:
    network.add("host", "gw")
    network.veth(("host", "eth0"), ("gw", "lan"))
    network.host("host", f"{HOST[4]}/24", "10.0.1.1")
    own = {"lan": ["10.0.1.1/24"], "wan": [f"{LOCAL[4]}/24"]}
    if 6 in families:
        network.host6("host", f"{HOST[6]}/64", "fd00:1::1")
        own["lan"].append("fd00:1::1/64")
        own["wan"].append(f"{LOCAL[6]}/64")
    make_wire(network, "gw")
    return GuestSite(network, Site(
        "gw", network.directory,
        [Port("lan", "protected", own["lan"], f"net_af_packet0,iface=lan,{AF_PACKET}"),
         Port("wan", "unprotected", own["wan"], "net_tap0,iface=wan")], tunnels, worker_cores=cores()[-1:]))
