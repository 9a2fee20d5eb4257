"""Inbound windows over restarts: nothing is accepted twice, and what that costs is what the gateway said.

    host -- [gw] -- a peer of our own, which makes its ESP by hand

Nothing above the ceiling that is on disk is accepted, and after an unclean stop the window starts there. So the peer's
next packets up to it are lost: what `vpn-gw show sa` gives as replay_ceiling - sequence_number, when it was asked after
the round that the last packets called for.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from random import Random

import pytest

from vpngw import packets
from vpngw.esp import Association
from vpngw.gateway import command
from vpngw.ledger import Numbers
from vpngw.live import LiveGateway, One
from vpngw.network import wait_until
from vpngw.powerloss import PowerLoss

PORT = 9000
# SO_RCVBUFFORCE, which `socket` does not name.
RECEIVE_BUFFER_FORCE = 33
RATES = [200, 5000]
SECONDS = 2  # of traffic before the gateway ends


class Peer:
    """The other end of the tunnel, and the host that takes what comes out: each packet carries its sequence number."""

    def __init__(self, one: One):
        self.one = one
        self.association = Association.inbound(one.site.tunnels[0])
        # The gateway's port has its interface's address.
        destination = bytes.fromhex(one.network.mac("gw", "wan").replace(":", ""))
        self._ethernet = destination + bytes.fromhex("0200000000020800")
        self._wire = one.network.socket("peer", socket.AF_PACKET, socket.SOCK_RAW)
        self._wire.bind(("eth0", 0))
        self._host = one.network.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
        self._host.setsockopt(socket.SOL_SOCKET, RECEIVE_BUFFER_FORCE, 64 << 20)
        self._host.bind(("", PORT))
        self._host.setblocking(False)
        self.accepted = Numbers()
        self.next = 1
        self._sent = 0  # since the gateway's start

    def frame(self, number: int) -> bytes:
        datagram = packets.udp("10.0.2.10", "10.0.1.10", PORT, PORT, number.to_bytes(8, "big"))
        inner = packets.ipv4("10.0.2.10", "10.0.1.10", packets.UDP, datagram)
        return self._ethernet + self.association.packet(number, inner)

    def send(self, numbers) -> None:
        for number in numbers:
            self._wire.send(self.frame(number))
            self._sent += 1

    def send_fresh(self, count: int, rate: int, stop: threading.Event | None = None) -> None:
        """The next so many numbers, evenly."""
        begin = time.monotonic()
        for sent in range(count):
            if stop is not None and stop.is_set():
                return
            self.send([self.next])
            self.next += 1
            time.sleep(max(0.0, begin + (sent + 1) / rate - time.monotonic()))

    def start(self, **environment: str) -> LiveGateway:
        """The gateway's next run; what is sent meanwhile may count for it or not."""
        gateway = self.one.run(**environment).wait_running()
        self._sent = 0
        return gateway

    def settle(self, gateway: LiveGateway, seed: int) -> int:
        """Until all that was sent in this run was accepted or dropped; how many it dropped as `ahead` of the disk."""
        report: dict = {}

        def is_done() -> bool:
            report.update(gateway.show("report"))
            return report["ports"]["wan"]["rx_packets"] >= self._sent and report["in_flight_packets"] == 0
        wait_until(is_done, lambda: f"{self._sent} were sent, seed {seed}: {report}")
        self.look(seed)
        return report["drops"].get("ahead", 0)

    def look(self, seed: int) -> Numbers:
        """Everything that came out so far; fails on what came out twice."""
        while True:
            try:
                number = int.from_bytes(self._host.recv(64), "big")
            except BlockingIOError:
                return self.accepted
            assert self.accepted.add(number), f"packet {number} was accepted twice, seed {seed}"

    def replay(self, gateway: LiveGateway, numbers: list[int], seed: int) -> None:
        """Sends packets of before once more: all are refused."""
        before = refused(gateway)
        self.send(numbers)
        self.settle(gateway, seed)
        assert refused(gateway) == before + len(numbers), f"seed {seed}: {gateway.show('report')}"


def refused(gateway: LiveGateway) -> int:
    drops = gateway.show("drops")["drops"]
    return drops.get("late", 0) + drops.get("replayed", 0)


def inbound(gateway: LiveGateway) -> dict:
    association, = (sa for sa in gateway.show("sa")["sas"] if sa["direction"] == "inbound")
    return association


def ceiling_on_disk(one: One) -> int:
    """Of a gateway that does not run."""
    said = command("state", "show", "--json", "--config", one.site.write())
    assert said.code == 0, said.stderr
    record, = (row for row in json.loads(said.stdout) if row["spi"] == "0x00002001")
    return record["replay_ceiling"]


def newest_and_some(accepted: Numbers, random: Random) -> list[int]:
    """Numbers of packets to send again: those that a window would forget first, and some of all."""
    numbers = [number for number in range(max(1, accepted.highest - 1200), accepted.highest + 1) if number in accepted]
    numbers += [number for number in random.sample(range(1, accepted.highest), 100) if number in accepted]
    random.shuffle(numbers)
    return numbers


@pytest.fixture
def seed() -> int:
    seed = int(os.environ.get("VPN_GW_SEED") or int.from_bytes(os.urandom(4)))
    print(f"seed {seed}")
    return seed


@pytest.mark.parametrize("end", ["kill", "power cut"])
@pytest.mark.parametrize("rate", RATES)
def test_a_peer_that_waits_loses_what_is_below_the_ceiling(one: One, rate: int, end: str, seed: int):
    random, peer = Random(seed), Peer(one)
    directory = one.site.directory / "gw-state"
    directory.mkdir(mode=0o700)
    power = PowerLoss(directory, one.site.directory / "power.log")
    gateway = peer.start(**power.environment())
    peer.send_fresh(rate * SECONDS, rate)
    ahead = peer.settle(gateway, seed)
    shown = inbound(gateway)
    gateway.kill()
    highest = peer.accepted.highest
    assert shown["sequence_number"] == highest > 0
    assert peer.accepted.count + ahead == rate * SECONDS
    if end == "power cut":
        power.cut(random)
    # It may have come down since it was shown. It went up when the last packets had asked for that and their turn came
    # after the look.
    ceiling = ceiling_on_disk(one)
    bound = max(ceiling, shown["replay_ceiling"]) - highest
    assert highest <= ceiling, f"seed {seed}"

    gateway = peer.start()
    peer.replay(gateway, newest_and_some(peer.accepted, random), seed)
    before, first = refused(gateway), peer.next
    peer.send_fresh(ceiling - highest + 100, rate)
    peer.settle(gateway, seed)
    lost = refused(gateway) - before
    print(f"{rate} packets/s, {end}: {lost} lost of {bound} at most; {ahead} were too far ahead of the disk")
    assert lost == max(0, ceiling - first + 1) <= bound
    # Two intervals at this rate; where the disk takes a second, two seconds.
    assert bound <= max(64, 2 * rate)
    if rate == 200:
        assert ahead == 0
    gateway.stop()


@pytest.mark.parametrize("rate", RATES)
def test_a_peer_that_goes_on_loses_less(one: One, rate: int, seed: int):
    random, peer, stop = Random(seed), Peer(one), threading.Event()
    gateway = peer.start()
    sender = threading.Thread(target=peer.send_fresh, args=(60 * rate, rate, stop))
    sender.start()
    try:
        wait_until(lambda: peer.look(seed).count > rate, lambda: f"{gateway.show('report')}, seed {seed}")
        time.sleep(random.random())
        gateway.kill()
        highest, ceiling = peer.look(seed).highest, ceiling_on_disk(one)
        # As far as it may be, where the machine let the keeper wait.
        assert highest <= ceiling
        gateway = peer.start()
        began, first = time.monotonic(), peer.next
        wait_until(lambda: peer.look(seed).highest > highest, lambda: f"{gateway.show('report')}, seed {seed}")
        print(f"{rate} packets/s: {refused(gateway)} lost of {ceiling - highest} at most; {first - highest} were sent "
              f"while it was away; accepted again {time.monotonic() - began:.3f} s after it ran")
        assert refused(gateway) <= ceiling - highest
    finally:
        stop.set()
        sender.join()
    peer.settle(gateway, seed)
    peer.replay(gateway, newest_and_some(peer.accepted, random), seed)
    gateway.stop()


@pytest.mark.parametrize("rate", RATES)
def test_a_clean_stop_loses_nothing(one: One, rate: int, seed: int):
    random, peer = Random(seed), Peer(one)
    for _ in range(3):
        gateway = peer.start()
        if peer.accepted.count:
            peer.replay(gateway, newest_and_some(peer.accepted, random), seed)
        before = refused(gateway)
        peer.send_fresh(rate, rate)
        ahead = peer.settle(gateway, seed)
        assert refused(gateway) == before, f"seed {seed}"
        gateway.stop()
        assert ceiling_on_disk(one) == peer.accepted.highest
        print(f"{rate} packets/s: {ahead} were too far ahead of the disk")


def test_the_ceiling_stays_near_when_the_peer_jumps(one: One, seed: int):
    """As peers do that restart: a block of numbers is gone, and no packet more came for that."""
    peer = Peer(one)
    gateway = peer.start()
    for _ in range(4):
        peer.send_fresh(50, 200)
        assert peer.settle(gateway, seed) == 0
        shown = inbound(gateway)
        assert shown["sequence_number"] == peer.next - 1
        assert shown["replay_ceiling"] - shown["sequence_number"] <= 64
        peer.next += 1 << 18
    gateway.kill()
    peer.start().stop()
