"""A Linux kernel that is told nothing but what `vpn-gw export linux` prints is the other end."""

from __future__ import annotations

import shlex

import pytest

from vpngw.gateway import command
from vpngw.guest import Guest, make_guest_site, skip_without_guests
from vpngw.live import echo
from vpngw.network import Network
from vpngw.site import Tunnel


@pytest.mark.timeout(240)
def test_the_printed_lines_make_a_peer(network: Network):
    skip_without_guests()
    tunnel = Tunnel("guest", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], ["10.2.1.0/24"], 0x1001, 0x2001)
    guest_site = make_guest_site(network, [tunnel])
    exported = command("export", "linux", "--config", guest_site.site.write(), "--tunnel", "guest", "--with-keys")
    assert exported.code == 0, exported.stderr
    # Addresses are the peer's own affair; the rest is what was printed, without the shell's quotes.
    lines = ["address add 192.0.2.2/24 dev eth0", "address add 10.2.1.10/32 dev lo"]
    for line in exported.stdout.splitlines():
        words = shlex.split(line, comments=True)
        if words and words != ["set", "-e"]:
            assert words[0] == "ip", line
            lines.append(" ".join(words[1:]))
    gateway = guest_site.start()
    guest = Guest.set_up_by(network, "gw", lines)
    echo(network, "host", "10.2.1.10", 0, 60, "nudge")
    gateway.wait_for("tunnel guest: up")
    report = gateway.stop()
    guest.stop()
    # The bridge and the guest speak IPv6 unasked.
    assert report["drops"].keys() <= {"not_for_us", "no_policy"}, report["drops"]
    assert {sa["packets"] for sa in report["sas"]} == {61}
