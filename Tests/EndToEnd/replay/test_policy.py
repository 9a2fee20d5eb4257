"""The SPD: bypass, discard and protect, by address, protocol and ports, both ways. RFC 4301 section 4.4.1."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from random import Random

import pytest

from vpngw import packets
from vpngw.esp import Association
from vpngw.packets import frame, ipv4, sized, tcp, udp
from vpngw.rig import Pair, Replayed, same_packets

OUTSIDE = "203.0.113.9"


def datagram(source: str, destination: str, source_port: int, destination_port: int, **fields) -> bytes:
    return ipv4(
        source, destination, packets.UDP, udp(source, destination, source_port, destination_port, b"data"), **fields
    )


def segment(source: str, destination: str, source_port: int, destination_port: int) -> bytes:
    return ipv4(source, destination, packets.TCP, tcp(source, destination, source_port, destination_port, b"data"))


def in_clear(replayed: Replayed, port: str) -> list[bytes]:
    """What left by a port without ESP."""
    return [packet for packet in replayed.packets(port) if packet[9] != packets.ESP]


def judge(replayed: Replayed, port: str, passed: list[bytes], drops: dict[str, list[bytes]]) -> None:
    """These packets left by `port` in clear, each a hop older, and the others were dropped for these reasons."""
    assert in_clear(replayed, port) == [packets.forwarded(packet) for packet in passed]
    assert replayed.drops == {reason: len(some) for reason, some in drops.items() if some}
    assert same_packets((record.packet for record in replayed.dropped), sum(drops.values(), []))


@pytest.mark.parametrize("direction", ["outbound", "inbound"])
def test_by_address(pair: Pair, rng: Random, direction: str) -> None:
    """Blocks have edges; the other direction has policies of its own."""
    inside, outside = ("source", "destination") if direction == "outbound" else ("destination", "source")
    pair.a.site.policies = [
        {"action": "bypass", "direction": direction, inside: "10.0.1.64/26", outside: "203.0.113.0/29"}
    ]
    passed, refused = [], []
    for host, there, passes in (
        ("10.0.1.64", "203.0.113.0", True),
        ("10.0.1.127", "203.0.113.7", True),
        ("10.0.1.63", "203.0.113.1", False),
        ("10.0.1.128", "203.0.113.1", False),
        ("10.0.1.70", "203.0.113.8", False),
        ("10.0.1.70", "203.0.112.255", False),
    ):
        for kind in packets.HEADERS:
            ends = (host, there) if direction == "outbound" else (there, host)
            (passed if passes else refused).append(sized(kind, 90, rng, *ends))
    frames = [frame(packet) for packet in (*passed, *refused)]
    port, out = ("lan", "wan") if direction == "outbound" else ("wan", "lan")
    judge(pair.a.replay(clear=True, **{port: frames}), out, passed, {"no_policy": refused})
    back = [sized("udp", 90, rng, packets_destination(packet), packets_source(packet)) for packet in passed]
    judge(pair.a.replay(clear=True, **{out: map(frame, back)}), port, [], {"no_policy": back})


def packets_source(packet: bytes) -> str:
    return ".".join(map(str, packet[12:16]))


def packets_destination(packet: bytes) -> str:
    return ".".join(map(str, packet[16:20]))


@pytest.mark.parametrize("direction", ["outbound", "inbound"])
def test_by_protocol(pair: Pair, rng: Random, direction: str) -> None:
    pair.a.site.policies = [
        {"action": "bypass", "direction": direction, "protocol": "icmp"},
        {"action": "bypass", "direction": direction, "protocol": packets.EXPERIMENT},
        {"action": "discard", "direction": direction, "protocol": "tcp"},
    ]
    ends = (pair.host_a, OUTSIDE) if direction == "outbound" else (OUTSIDE, pair.host_a)
    mine = {kind: [sized(kind, octets, rng, *ends) for octets in (60, 61, 1500)] for kind in packets.HEADERS}
    port, out = ("lan", "wan") if direction == "outbound" else ("wan", "lan")
    replayed = pair.a.replay(clear=True, **{port: [frame(packet) for some in mine.values() for packet in some]})
    passed = [packet for kind, some in mine.items() if kind in ("icmp", "unknown") for packet in some]
    judge(replayed, out, passed, {"no_policy": mine["udp"], "policy_discard": mine["tcp"]})


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("direction", ["outbound", "inbound"])
def test_by_port_range(pair: Pair, direction: str, protocol: str) -> None:
    """Ranges include both ends, hold for one protocol, and for the port of their own side."""
    pair.a.site.policies = [
        {
            "action": "bypass",
            "direction": direction,
            "protocol": protocol,
            "source_ports": "1024-65535",
            "destination_ports": "500-510",
        },
        {"action": "bypass", "direction": direction, "protocol": protocol, "source_ports": 53},
    ]
    ends = (pair.host_a, OUTSIDE) if direction == "outbound" else (OUTSIDE, pair.host_a)
    mine, other = (datagram, segment) if protocol == "udp" else (segment, datagram)
    passed = [
        mine(*ends, *ports) for ports in ((1024, 500), (65535, 510), (40000, 505), (53, 1), (53, 65535), (53, 505))
    ]
    refused = [
        mine(*ends, *ports)
        for ports in ((1023, 500), (1024, 499), (1024, 511), (500, 1024), (0, 0), (52, 5), (54, 53), (505, 53))
    ]
    refused += [other(*ends, 1024, 500), other(*ends, 53, 53)]
    port, out = ("lan", "wan") if direction == "outbound" else ("wan", "lan")
    replayed = pair.a.replay(clear=True, **{port: map(frame, [*passed, *refused])})
    judge(replayed, out, passed, {"no_policy": refused})


def test_priority_and_order(pair: Pair, rng: Random) -> None:
    """The lowest priority number first, equals by their place in the file, and all of them before the tunnels' own."""
    pair.a.site.policies = [
        {"action": "discard", "direction": "outbound", "destination": "203.0.113.0/24", "priority": 20},
        {"action": "bypass", "direction": "outbound", "destination": "203.0.113.0/25", "priority": 10},
        {"action": "discard", "direction": "outbound", "destination": "203.0.113.0/26", "priority": -5},
        {"action": "discard", "direction": "outbound", "destination": "203.0.113.64/32", "priority": 10},  # too late
        {"action": "bypass", "direction": "outbound", "destination": "203.0.113.200/32", "priority": 21},  # too late
        {
            "action": "bypass",
            "direction": "outbound",
            "source": "10.0.1.5/32",
            "destination": "10.0.2.128/25",
            "priority": 1_000_000_000,
        },
        {"action": "discard", "direction": "outbound", "destination": "10.0.2.7/32"},
    ]
    passed = [
        sized("udp", 60, rng, pair.host_a, there)
        for there in ("203.0.113.64", "203.0.113.127", "10.0.2.128", "10.0.2.255")
    ]
    discarded = [
        sized("udp", 60, rng, pair.host_a, there)
        for there in ("203.0.113.0", "203.0.113.63", "203.0.113.128", "203.0.113.200", "10.0.2.7")
    ]
    protected = [
        sized("udp", 60, rng, *ends)
        for ends in ((pair.host_a, "10.0.2.8"), (pair.host_a, "10.0.2.127"), ("10.0.1.6", "10.0.2.128"))
    ]
    unknown = [sized("udp", 60, rng, pair.host_a, "203.0.114.1")]
    frames = [frame(packet) for packet in (*passed, *discarded, *protected, *unknown)]
    replayed = pair.a.replay(clear=True, lan=frames)
    judge(replayed, "wan", passed, {"policy_discard": discarded, "no_policy": unknown})
    opened = [
        Association.outbound(pair.tunnel).open(packet).payload
        for packet in replayed.packets("wan")
        if packet[9] == packets.ESP
    ]
    assert opened == [packets.forwarded(packet) for packet in protected]


def test_protect_by_policy(pair: Pair, rng: Random) -> None:
    """A protect policy outside of the tunnel's selectors: outbound it encrypts, inbound it refuses clear text."""
    pair.a.site.policies = [
        {
            "action": "protect",
            "tunnel": "site-b",
            "direction": "outbound",
            "destination": "203.0.113.0/24",
            "protocol": "tcp",
            "destination_ports": 22,
        },
        {
            "action": "protect",
            "tunnel": "site-b",
            "direction": "inbound",
            "source": "203.0.113.0/24",
            "protocol": "tcp",
            "source_ports": 22,
        },
        {"action": "bypass", "direction": "outbound", "priority": 10},
        {"action": "bypass", "direction": "inbound", "priority": 10},
    ]
    secret, other = segment(pair.host_a, OUTSIDE, 4000, 22), segment(pair.host_a, OUTSIDE, 4000, 23)
    replayed = pair.a.replay(clear=True, lan=[frame(secret), frame(other)])
    judge(replayed, "wan", [other], {})
    opened = [
        Association.outbound(pair.tunnel).open(packet).payload
        for packet in replayed.packets("wan")
        if packet[9] == packets.ESP
    ]
    assert opened == [packets.forwarded(secret)]
    secret, other = segment(OUTSIDE, pair.host_a, 22, 4000), segment(OUTSIDE, pair.host_a, 23, 4000)
    judge(pair.a.replay(wan=[frame(secret), frame(other)]), "lan", [other], {"unprotected": [secret]})


@pytest.mark.parametrize("direction", ["outbound", "inbound"])
def test_later_fragments(pair: Pair, direction: str) -> None:
    """RFC 4301 section 7: a later fragment shows no ports.

    An entry with ports that discards or protects has them discarded; one that bypasses does not cover them; one without
    ports covers them like any packet.
    """
    inside, outside = ("source", "destination") if direction == "outbound" else ("destination", "source")
    there = {"discard": "203.0.113.1", "protect": "203.0.113.2", "bypass": "203.0.113.3", "portless": "203.0.113.4"}
    pair.a.site.policies = [
        {
            "action": action,
            "direction": direction,
            outside: f"{there[action]}/32",
            "protocol": "udp",
            "destination_ports": "500-510",
            **({"tunnel": "site-b"} if action == "protect" else {}),
        }
        for action in ("discard", "protect", "bypass")
    ]
    pair.a.site.policies += [{"action": "bypass", "direction": direction, outside: f"{there['portless']}/32"}]

    def fragments(name: str) -> list[bytes]:
        """First, middle and last, of a datagram to a port in the range; the later ones' data looks like other ports."""
        ends = (pair.host_a, there[name]) if direction == "outbound" else (there[name], pair.host_a)
        first = datagram(*ends, 500, 505, fragment=packets.MF)
        later = [ipv4(*ends, packets.UDP, bytes([1, 249] * 8), fragment=field) for field in (packets.MF | 2, 4)]
        return [first, *later]

    sets = {name: fragments(name) for name in there}
    port, out = ("lan", "wan") if direction == "outbound" else ("wan", "lan")
    replayed = pair.a.replay(clear=True, **{port: [frame(packet) for some in sets.values() for packet in some]})
    drops = {
        "policy_discard": [*sets["discard"], *sets["protect"][1:]],
        "no_policy": sets["bypass"][1:],
        "unprotected": sets["protect"][:1] if direction == "inbound" else [],
    }
    judge(replayed, out, [sets["bypass"][0], *sets["portless"]], drops)
    if direction == "outbound":
        esp = [packet for packet in replayed.packets("wan") if packet[9] == packets.ESP]
        assert [Association.outbound(pair.tunnel).open(packet).payload for packet in esp] == [
            packets.forwarded(sets["protect"][0])
        ]


def test_a_transport_header_cut_short(pair: Pair) -> None:
    """Fewer than four octets of UDP show no ports either: the same as a later fragment, and never out of bounds."""
    pair.a.site.policies = [
        {"action": "bypass", "direction": "outbound", "protocol": "udp", "destination_ports": "0-65535"}
    ]
    short = [ipv4(pair.host_a, OUTSIDE, packets.UDP, bytes(octets)) for octets in range(4)]
    enough = [ipv4(pair.host_a, OUTSIDE, packets.UDP, bytes(octets)) for octets in (4, 5, 8)]
    replayed = pair.a.replay(clear=True, lan=map(frame, [*short, *enough]))
    judge(replayed, "wan", enough, {"no_policy": short})


def test_bypass_is_still_a_router(pair: Pair, rng: Random) -> None:
    """TTL, MTU and route hold in clear as well; a packet that fits is not touched otherwise."""
    pair.a.site.policies = [{"action": "bypass", "direction": direction} for direction in ("outbound", "inbound")]
    passed = [
        sized("udp", octets, rng, pair.host_a, OUTSIDE, fragment=packets.DF, ttl=2) for octets in (28, 1499, 1500)
    ]
    big = [sized("udp", octets, rng, pair.host_a, OUTSIDE, fragment=packets.DF) for octets in (1501, 9000)]
    old = [sized("udp", 100, rng, pair.host_a, OUTSIDE, ttl=ttl) for ttl in (0, 1)]
    replayed = pair.a.replay(clear=True, lan=map(frame, [*passed, *big, *old]))
    judge(replayed, "wan", passed, {"packet_too_big": big, "ttl_expired": old})
    # From the unprotected side for somebody beyond it again: out through the SPD, in clear because a policy says so.
    through = [sized("udp", 100, rng, OUTSIDE, "198.51.100.9")]
    judge(pair.a.replay(clear=True, wan=map(frame, through)), "wan", through, {})


def test_random_policies_against_a_model(pair: Pair, rng: Random) -> None:
    """First match by priority and place, over random entries and packets, in both directions."""
    blocks = ["0.0.0.0/0", "203.0.113.0/24", "203.0.113.0/28", "203.0.113.8/29", "198.18.0.0/15", "198.18.3.0/24"]
    for _ in range(4):
        policies = []
        for _ in range(rng.randrange(5, 60)):
            entry = {
                "action": rng.choice(("bypass", "discard", "protect")),
                "direction": rng.choice(("outbound", "inbound")),
                "priority": rng.randrange(6),
            }
            outside = "destination" if entry["direction"] == "outbound" else "source"
            entry[outside] = rng.choice(blocks)
            if entry["action"] == "protect":
                entry["tunnel"] = "site-b"
            if rng.random() < 0.7:
                entry["protocol"] = rng.choice(("udp", "tcp", "icmp"))
                if entry["protocol"] != "icmp":
                    for key in ("source_ports", "destination_ports"):
                        if rng.random() < 0.4:
                            low = rng.randrange(0, 20)
                            entry[key] = f"{low}-{low + rng.randrange(12)}"
            policies.append(entry)
        pair.a.site.policies = policies
        for direction, port in (("outbound", "lan"), ("inbound", "wan")):
            frames, verdicts = [], {}
            for _ in range(1500):
                far = rng.choice(("203.0.113.", "198.18.3.", "198.19.0.", "198.51.100.")) + str(rng.randrange(2, 30))
                ends = (pair.host_a, far) if direction == "outbound" else (far, pair.host_a)
                protocol, ports = rng.choice(("udp", "tcp", "icmp")), (rng.randrange(24), rng.randrange(24))
                make = {
                    "udp": datagram,
                    "tcp": segment,
                    "icmp": lambda *ends_and_ports: ipv4(
                        *ends_and_ports[:2], packets.ICMP, packets.echo(*ends_and_ports[2:], kind=0)
                    ),
                }[protocol]
                frames.append(frame(make(*ends, *ports)))
                verdict = first_match(policies, direction, far, protocol, ports)
                verdicts[verdict] = verdicts.get(verdict, 0) + 1
            replayed = pair.a.replay(clear=True, **{port: frames})
            expected = {"policy_discard": verdicts.get("discard", 0), "no_policy": verdicts.get(None, 0)}
            if direction == "inbound":
                expected["unprotected"] = verdicts.get("protect", 0)
            assert replayed.drops == {reason: count for reason, count in expected.items() if count}
            out = "wan" if direction == "outbound" else "lan"
            assert len(in_clear(replayed, out)) == verdicts.get("bypass", 0)


def first_match(policies: list[dict], direction: str, far: str, protocol: str, ports: tuple[int, int]) -> str | None:
    """The model: sorted by priority, the file's order among equals (Python's sort is stable)."""
    for entry in sorted((entry for entry in policies if entry["direction"] == direction), key=lambda e: e["priority"]):
        outside = entry["destination" if direction == "outbound" else "source"]
        if ip_address(far) not in ip_network(outside) or entry.get("protocol", protocol) != protocol:
            continue
        ranges = [entry.get(key) for key in ("source_ports", "destination_ports")]
        bounds = [tuple(map(int, text.split("-"))) if text else (0, 65535) for text in ranges]
        if all(low <= port <= high for port, (low, high) in zip(ports, bounds)):
            return entry["action"]
    return None
