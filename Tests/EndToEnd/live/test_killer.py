"""vpn-gw under traffic, killed at random instants, its disk's power cut: no nonce twice, no packet accepted twice.

    host-a -- [gw-a] == wire == [gw-b] -- host-b

gw-a is killed; both hosts send numbered datagrams to each other all the time. Its clock stands still, so that nothing
but the store keeps IVs of one run from those of the next (the clock's floor would hide a store that forgets). Every ESP
packet on the wire goes into a ledger, and so does every datagram that comes out at host-a.

A round is a start and a kill: half of them within the start, and of those half when the store has just been written to.
In some rounds the state directory is then replaced by what a power cut may have left of it; in some the next start has
the same keys under other SPIs and another tunnel. Where b's stream waits for the restart, the newest packets of before
are played to gw-a again, before anything fresh moves its window.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from random import Random

import pytest

from vpngw.clock import standing_still, together
from vpngw.esp import Association
from vpngw.ledger import NonceLedger, Numbers
from vpngw.live import TRAFFIC, LiveGateway, Sites
from vpngw.network import packets, wait_until
from vpngw.powerloss import PowerLoss
from vpngw.site import Tunnel
from vpngw.wiretap import Wiretap

PORT = 9000
RATE = 2000  # datagrams a second, each way
FLOOD_RATE = 200_000  # more than a gateway here forwards
# An SA's first block: gw-a asks for the next when half of it is gone.
HALF_A_BLOCK = 1 << 17
REPLAYED_PACKETS = 200
# The Ethernet source of what is played again: by it the ledger knows that no gateway sent it.
REPLAYER = b"\x02\0\0\0\0\x99"


@dataclass
class Plan:
    """What chance wants of a round."""

    in_startup: bool
    at_the_store: bool
    power_cut: bool
    move: bool
    b_waits: bool
    over_a_refill: bool

    @classmethod
    def of(cls, random: Random, number: int) -> Plan:
        in_startup = number % 2 == 0
        return cls(in_startup, random.random() < 0.5, random.random() < 1 / 3, random.random() < 1 / 5,
                   random.random() < 0.5, not in_startup and number % 16 == 1)


class Killer:
    """Two sites under traffic, and what was seen of them."""

    def __init__(self, sites: Sites, random: Random):
        self.sites, self.network, self.random = sites, sites.network, random
        self.tunnel = sites.site_a.tunnels[0]
        self.other = dataclasses.replace(self.tunnel, name="moved", outbound_spi=0x1101, inbound_spi=0x2101)
        self.ledger = NonceLedger({
            spi: key for tunnel in (self.tunnel, self.other)
            for spi, key in ((tunnel.outbound_spi, tunnel.outbound_key), (tunnel.inbound_spi, tunnel.inbound_key))})
        self.delivered = Numbers()
        self.newest: deque[bytes] = deque(maxlen=2000)
        self.startup_seconds = 0.5
        self.clock = standing_still(int(time.time()))
        directory = sites.site_a.directory / "gw-a-state"
        directory.mkdir(mode=0o700)
        self.power = PowerLoss(directory, sites.site_a.directory / "power.log")
        self.wal = directory / "sa-store.sqlite-wal"
        self.counts = dict.fromkeys(
            ("kills in start-up", "of those at the store", "kills while forwarding", "power cuts", "moves", "refills",
             "packets replayed"), 0)
        self.b_waits = False

    def begin(self) -> None:
        """Everything but gw-a runs."""
        self.wire = Wiretap(self.network, "gw-a", "wan", octets=192, roll_mb=100)
        self.lan = Wiretap(self.network, "host-a", "eth0", octets=64, roll_mb=100)
        for host in ("host-a", "host-b"):  # or its kernel would answer with ICMP errors
            self.network.socket(host, socket.AF_INET, socket.SOCK_DGRAM).bind(("", PORT))
        self.injector = self.network.socket("gw-b", socket.AF_PACKET, socket.SOCK_RAW)
        self.injector.bind(("wan", 0))
        self.sites.b = LiveGateway(self.network, "gw-b", self.sites.site_b.write()).wait_running()
        self.stream_a = self._stream("host-a", "10.0.2.10", RATE)
        self.stream_b = self._stream("host-b", "10.0.1.10", RATE)
        self.flood = self._stream("host-a", "10.0.2.10", FLOOD_RATE)
        self.flood.send_signal(signal.SIGSTOP)

    def _stream(self, host: str, address: str, rate: int) -> subprocess.Popen:
        log = self.network.directory / f"stream-{host}-{rate}.log"
        return self.network.start(host, sys.executable, TRAFFIC, "number", address, PORT, rate, log=log)

    def start(self, *, cut: bool) -> LiveGateway:
        if cut:
            self.power.start_over()
        environment = together(self.clock, self.power.environment()) if cut else self.clock
        return LiveGateway(self.network, "gw-a", self.sites.site_a.write(), environment)

    def move(self) -> None:
        """The same keys under another tunnel and other SPIs, at both ends."""
        current, = self.sites.site_a.tunnels
        following = self.other if current is self.tunnel else self.tunnel
        self.sites.site_a.tunnels = [following]
        self.sites.site_b.tunnels = [following.reversed("a" if following is self.tunnel else "a-moved")]
        self.sites.site_b.write()
        reloads = self.sites.b.log.read_text().count("reload: SA pairs")
        self.sites.b.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.sites.b.log.read_text().count("reload: SA pairs") > reloads, self.sites.b.log.read_text)
        self.counts["moves"] += 1

    def look(self, where: str) -> None:
        """Enters what was seen since the last time."""
        def inbound() -> object:
            for frame in self.wire.fresh():
                if frame[6:12] == REPLAYER:
                    continue
                if frame[26:30] == b"\xc0\x00\x02\x02" and frame[23] == 50:
                    self.newest.append(frame)
                yield frame
        self.ledger.take(inbound(), where)
        for frame in self.lan.fresh():
            # UDP to host-a, from the stream.
            if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[30:34] == b"\x0a\x00\x01\x0a":
                number = int.from_bytes(frame[42:50], "big")
                assert self.delivered.add(number), f"datagram {number} was accepted twice, {where}"

    def replay(self, gateway: LiveGateway, where: str) -> None:
        """Plays the newest packets of before that were accepted; waits until all of them were refused."""
        opener = {}
        for tunnel in (self.tunnel, self.other):
            opener[tunnel.inbound_spi] = Association.inbound(tunnel)
        accepted = []
        for frame in reversed(self.newest):
            spi, = struct.unpack_from("!I", frame, 34)
            inner = opener[spi].open(frame[14:]).payload
            if int.from_bytes(inner[28:36], "big") in self.delivered:
                accepted.append(frame)
            if len(accepted) == REPLAYED_PACKETS:
                break
        if not accepted:
            return
        self.random.shuffle(accepted)
        for frame in accepted:
            self.injector.send(frame[:6] + REPLAYER + frame[12:])

        def refused() -> int:
            drops = gateway.show("drops")["drops"]
            return sum(drops.get(reason, 0) for reason in ("late", "replayed", "unknown_spi"))
        wait_until(lambda: refused() >= len(accepted), lambda: f"{len(accepted)} replays, {refused()} refused, {where}")
        self.counts["packets replayed"] += len(accepted)
        self.look(where)

    def kill_in_startup(self, plan: Plan) -> None:
        before = self._wal_state()
        gateway = self.start(cut=plan.power_cut)
        if plan.at_the_store:
            deadline = time.monotonic() + 2 * self.startup_seconds
            while self._wal_state() == before and time.monotonic() < deadline:
                time.sleep(0.0005)
            time.sleep(self.random.uniform(0, 0.03))
        else:
            time.sleep(self.random.uniform(0, self.startup_seconds))
        assert gateway.process.poll() is None, gateway.log.read_text()
        gateway.kill()
        if " runs: " not in gateway.log.read_text():
            self.counts["kills in start-up"] += 1
        if plan.at_the_store:
            self.counts["of those at the store"] += 1

    def _wal_state(self) -> tuple[int, int] | None:
        try:
            status = self.wal.stat()
        except FileNotFoundError:
            return None
        return status.st_size, status.st_mtime_ns

    def kill_while_forwarding(self, plan: Plan, where: str) -> None:
        gateway = self.run(where, cut=plan.power_cut)
        if plan.over_a_refill:
            self.flood.send_signal(signal.SIGCONT)
            self.wait_for_traffic(gateway, HALF_A_BLOCK, where)
            time.sleep(self.random.uniform(0, 0.1))
        else:
            time.sleep(self.random.uniform(0, 0.3))
        gateway.kill()
        if plan.over_a_refill:
            self.flood.send_signal(signal.SIGSTOP)
            self.counts["refills"] += 1
        self.counts["kills while forwarding"] += 1

    def run(self, where: str, *, cut: bool = False) -> LiveGateway:
        """A start that gets as far as traffic in both directions, whatever happened before."""
        began = time.monotonic()
        gateway = self.start(cut=cut).wait_running()
        self.startup_seconds = time.monotonic() - began
        self.look(where)
        if self.b_waits:
            self.replay(gateway, where)
            self.stream_b.send_signal(signal.SIGCONT)
            self.b_waits = False
        self.wait_for_traffic(gateway, 50, where)
        return gateway

    def wait_for_traffic(self, gateway: LiveGateway, from_a: int, where: str) -> None:
        """Until so many packets more of gw-a's have crossed the wire, and 50 have come out at host-a."""
        def crossed() -> tuple[int, int]:
            return packets(self.sites.b.process, "wan")[0], packets(self.stream_a, "eth0")[0]
        sent, delivered = crossed()
        wait_until(
            lambda: crossed() > (sent + from_a, 0) and crossed()[1] > delivered + 50,
            lambda: f"traffic both ways, {where}: was {(sent, delivered)}, is {crossed()}\n"
            f"gw-a: {gateway.show('report')}\n{gateway.show('sa')}\ngw-b: {self.sites.b.show('report')}", 60)

    def round(self, number: int, where: str, plan: Plan) -> None:
        if plan.move and number > 0:
            self.move()
        if plan.in_startup:
            self.kill_in_startup(plan)
        else:
            self.kill_while_forwarding(plan, where)
        if plan.b_waits and not self.b_waits:
            self.stream_b.send_signal(signal.SIGSTOP)
            self.b_waits = True
        if plan.power_cut:
            self.power.cut(self.random)
            self.counts["power cuts"] += 1
        self.look(where)

    def end(self, where: str) -> None:
        """A last run, which ends well, and then all of what was captured."""
        gateway = self.run(where)
        for stream in (self.stream_a, self.stream_b, self.flood):
            stream.kill()
        gateway.stop()
        self.sites.b.stop()
        self.look(where)
        self.ledger.take(self.wire.stop(), where)
        assert self.lan.stop() == []


@pytest.mark.parametrize("rounds", [
    pytest.param(50, marks=pytest.mark.timeout(300)),
    pytest.param(500, marks=[pytest.mark.long, pytest.mark.timeout(2400)])])
def test_nothing_repeats_whenever_it_is_killed(sites: Sites, rounds: int):
    seed = int(os.environ.get("VPN_GW_SEED") or int.from_bytes(os.urandom(4)))
    killer = Killer(sites, Random(seed))
    killer.begin()
    for number in range(rounds):
        plan = Plan.of(killer.random, number)
        killer.round(number, f"round {number} of {rounds}, seed {seed}, {plan}", plan)
    killer.end(f"the run after {rounds} rounds, seed {seed}")
    ranges = {f"{key} {spi:#x}": numbers.ranges for (key, spi), numbers in killer.ledger.sequence_numbers.items()}
    print(f"seed {seed}: {killer.counts}, {killer.ledger.count} packets on the wire in {ranges} ranges, "
          f"{killer.delivered.count} delivered to host-a, the last start took {killer.startup_seconds:.2f} s")
    counts = killer.counts
    assert counts["kills in start-up"] > rounds / 3 and counts["kills while forwarding"] == rounds // 2
    assert counts["power cuts"] and counts["moves"] and counts["refills"] and counts["packets replayed"] > 2 * rounds
    assert killer.ledger.count > 200 * rounds < killer.delivered.count
