"""A hub between two spokes: what is decrypted from one and routed to the other is encrypted again, or dropped."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from replay.judges import Scapy
from vpngw import packets
from vpngw.esp import Association
from vpngw.packets import frame, sized
from vpngw.rig import Gateway
from vpngw.site import Port, Site, Tunnel

NORTH, SOUTH, HEAD = "10.0.1.5", "10.0.2.5", "10.0.0.5"


@pytest.fixture
def hub(tmp_path: Path, rng: Random) -> Gateway:
    """Networks 10.0.0.0/24 here, 10.0.1.0/24 in the north, 10.0.2.0/24 in the south."""
    spis = rng.sample(range(256, 1 << 32), 4)
    keys = [rng.randbytes(20) for _ in range(4)]
    north = Tunnel(
        "north", "192.0.2.1", "198.51.100.1", ["10.0.0.0/24", "10.0.2.0/24"], ["10.0.1.0/24"], *spis[:2], *keys[:2]
    )
    south = Tunnel(
        "south", "192.0.2.1", "203.0.113.1", ["10.0.0.0/24", "10.0.1.0/24"], ["10.0.2.0/24"], *spis[2:], *keys[2:]
    )
    return Gateway(
        Site(
            "hub",
            tmp_path,
            [Port("lan", "protected", ["10.0.0.1/24"]), Port("wan", "unprotected", ["192.0.2.1/24"])],
            [north, south],
            [("0.0.0.0/0", "192.0.2.254")],
        )
    )


def from_spoke(hub: Gateway, name: str, inner: list[bytes]) -> list[bytes]:
    """Frames as a spoke sends them."""
    tunnel = next(tunnel for tunnel in hub.site.tunnels if tunnel.name == name)
    association = Association.inbound(tunnel)
    return [association.frame(number, packet) for number, packet in enumerate(inner, start=1)]


def test_from_spoke_to_spoke(hub: Gateway, rng: Random) -> None:
    """Both ways in the same bursts, with what is for the hub's own network between them. One hop in all."""
    to_south = [sized("udp", rng.randrange(28, 1447), rng, NORTH, SOUTH) for _ in range(400)]
    to_north = [sized("tcp", rng.randrange(40, 1447), rng, SOUTH, NORTH) for _ in range(400)]
    to_head = [sized("udp", rng.randrange(28, 1447), rng, NORTH, HEAD) for _ in range(400)]
    mixed = [packet for pair in zip(to_south, to_head) for packet in pair]
    frames = [None] * 1200
    frames[0::3] = from_spoke(hub, "north", mixed)[0::2]
    frames[1::3] = from_spoke(hub, "north", mixed)[1::2]
    frames[2::3] = from_spoke(hub, "south", to_north)
    replayed = hub.replay(wan=frames)
    assert replayed.drops == {}
    assert replayed.packets("lan") == [packets.forwarded(packet) for packet in to_head]
    for tunnel, inner in zip(hub.site.tunnels, (to_north, to_south)):
        scapy = Scapy.outbound(tunnel)
        sent = [packet for packet in replayed.packets("wan") if packet[16:20] == packets.address(tunnel.remote_address)]
        assert [scapy.decrypt(packet) for packet in sent] == [packets.forwarded(packet) for packet in inner]


def test_never_in_clear(hub: Gateway, rng: Random) -> None:
    """Decrypted, and then bound for where no policy leads: dropped. The rig asserts that none left in clear."""
    for tunnel in hub.site.tunnels:
        tunnel.local_subnets = ["0.0.0.0/0"]
    there = ["203.0.113.9", "192.0.2.77", "192.0.2.254", "10.0.3.1", "198.51.100.1", "10.1.1.1"]
    inner = [sized(kind, 100, rng, NORTH, destination) for destination in there for kind in packets.HEADERS]
    replayed = hub.replay(wan=from_spoke(hub, "north", [*inner, sized("udp", 100, rng, NORTH, SOUTH)]))
    assert replayed.drops == {"no_policy": len(inner)}
    assert len(replayed.out["wan"]) == 1


def test_too_big_for_the_second_tunnel(hub: Gateway, rng: Random) -> None:
    """The first tunnel may carry more than the second: the sender hears of it through the first one."""
    scapy = Scapy.outbound(hub.site.tunnels[0])
    inner = [sized("udp", octets, rng, NORTH, SOUTH, fragment=packets.DF) for octets in (1446, 1447, 1600)]
    replayed = hub.replay(wan=from_spoke(hub, "north", inner))
    assert replayed.drops == {"packet_too_big": 2}
    replies = [
        scapy.decrypt(packet) for packet in replayed.packets("wan") if packet[16:20] == packets.address("198.51.100.1")
    ]
    assert len(replies) == 2
    for reply in replies:
        assert reply[9] == packets.ICMP and reply[20:22] == b"\x03\x04"
        assert reply[26:28] == (1446).to_bytes(2, "big")
        assert (reply[12:16], reply[16:20]) == (packets.address("10.0.0.1"), packets.address(NORTH))


def test_back_into_the_tunnel_it_came_from(hub: Gateway, rng: Random) -> None:
    """Selectors that allow it make a hairpin: still encrypted."""
    hub.site.tunnels[0].local_subnets = ["10.0.0.0/24", "10.0.1.0/24"]
    inner = [sized("udp", 100, rng, NORTH, "10.0.1.6")]
    replayed = hub.replay(wan=from_spoke(hub, "north", inner))
    assert replayed.drops == {}
    sent = replayed.packets("wan")
    assert [Scapy.outbound(hub.site.tunnels[0]).decrypt(packet) for packet in sent] == [packets.forwarded(inner[0])]


def test_decrypted_and_bypassed(hub: Gateway, rng: Random) -> None:
    """A policy may say that what came through a tunnel leaves in clear; only then does it, and only what it covers."""
    for tunnel in hub.site.tunnels:
        tunnel.local_subnets = ["0.0.0.0/0"]
    hub.site.policies = [
        {
            "action": "bypass",
            "direction": "outbound",
            "source": "10.0.1.0/24",
            "destination": "203.0.113.9/32",
            "protocol": "udp",
        }
    ]
    covered = sized("udp", 100, rng, NORTH, "203.0.113.9")
    others = [sized("tcp", 100, rng, NORTH, "203.0.113.9"), sized("udp", 100, rng, NORTH, "203.0.113.10")]
    replayed = hub.replay(clear=True, wan=from_spoke(hub, "north", [covered, *others]))
    assert replayed.drops == {"no_policy": 2}
    assert replayed.packets("wan") == [packets.forwarded(covered)]
    assert frame(covered) not in [record.octets for record in replayed.out["lan"]]
