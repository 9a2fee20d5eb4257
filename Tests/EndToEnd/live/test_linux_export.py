"""A Linux kernel that is told nothing but what `vpn-gw export linux` prints is the other end."""

from __future__ import annotations

import shlex

import pytest

from live.test_linux_guest import Guest, missing
from vpngw.gateway import command
from vpngw.live import AF_PACKET, TRAFFIC, LiveGateway, cores, echo
from vpngw.network import Network
from vpngw.site import Port, Site, Tunnel


@pytest.mark.timeout(240)
def test_the_printed_lines_make_a_peer(network: Network):
    if reason := missing():
        pytest.skip(reason)
    network.add("host", "gw")
    network.veth(("host", "eth0"), ("gw", "lan"))
    network.host("host", "10.0.1.10/24", "10.0.1.1")
    tunnel = Tunnel("guest", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], ["10.2.1.0/24"], 0x1001, 0x2001)
    site = Site(
        "gw", network.directory,
        [Port("lan", "protected", ["10.0.1.1/24"], f"net_af_packet0,iface=lan,{AF_PACKET}"),
         Port("wan", "unprotected", ["192.0.2.1/24"], "net_tap0,iface=wan")], [tunnel], worker_cores=cores()[-1:])
    exported = command("export", "linux", "--config", site.write(), "--tunnel", "guest", "--with-keys")
    assert exported.code == 0, exported.stderr
    # Addresses are the peer's own affair; the rest is what was printed, without the shell's quotes.
    lines = ["address add 192.0.2.2/24 dev eth0", "address add 10.2.1.10/32 dev lo"]
    for line in exported.stdout.splitlines():
        words = shlex.split(line, comments=True)
        if words and words != ["set", "-e"]:
            assert words[0] == "ip", line
            lines.append(" ".join(words[1:]))
    setup = network.directory / "guest-setup"
    setup.write_text("\n".join(lines) + "\n")

    # The guest has a tap, DPDK makes its own, a bridge joins them.
    network.ip("gw", "link", "add", "wire", "type", "bridge", "mcast_snooping", "0")
    network.ip("gw", "link", "set", "wire", "up")
    network.ip("gw", "tuntap", "add", "dev", "guest", "mode", "tap")
    network.ip("gw", "link", "set", "guest", "master", "wire", "up")
    gateway = LiveGateway(network, "gw", site.write()).wait_running()
    network.ip("gw", "link", "set", "wan", "address", "02:00:00:00:00:01")
    network.ip("gw", "link", "set", "wan", "master", "wire", "up")
    guest = Guest(network, "gw", "guest", init="guest-modes.sh", SETUP=setup, TRAFFIC=TRAFFIC, PORTS=6000)
    guest.wait_for("guest: ready")
    assert not [line for line in guest.lines() if "refused" in line]
    echo(network, "host", "10.2.1.10", 0, 60)
    gateway.wait_for("tunnel guest: up")
    report = gateway.stop()
    guest.stop()
    # The bridge and the guest speak IPv6 unasked.
    assert report["drops"].keys() <= {"not_for_us", "no_policy"}, report["drops"]
    assert {sa["packets"] for sa in report["sas"]} == {61}
