"""tshark opens a capture as an engineer would, and holds every ICV and checksum."""

from __future__ import annotations

from pathlib import Path
from random import Random

from replay.judges import tally, tshark
from vpngw import packets
from vpngw.rig import Pair

FIELDS = ["esp.icv_good", "esp.icv_bad", "ip.checksum.status", "esp.protocol"]
GOOD = ("1", "0", "1,1", "0x04")


def test_a_hundred_thousand_mixed_packets(pair: Pair, rng: Random) -> None:
    """All sizes, protocols, fragments and options: every ICV good, inner and outer checksums right, and back again."""
    count = 100_000
    inner = list(packets.mixed(count, rng, pair.host_a, pair.host_b))
    encrypted = pair.a.replay(lan=map(packets.frame, inner))
    assert encrypted.drops == {}
    capture = pair.a.site.directory / "a-1-out-wan.pcap"

    decrypted = pair.b.replay_files([("wan", capture)])
    assert decrypted.drops == {}
    assert decrypted.packets("lan") == [packets.forwarded(packet, hops=2) for packet in inner]

    rows = tshark(capture, [pair.tunnel], ["esp.sequence", "esp.spi", *FIELDS])
    assert tally([row[2:] for row in rows]) == {GOOD: count}
    assert [row[0] for row in rows] == [str(number) for number in range(1, count + 1)]
    assert {row[1] for row in rows} == {f"{pair.tunnel.outbound_spi:#010x}"}


def test_tshark_calls_a_broken_icv_bad(pair: Pair, rng: Random, tmp_path: Path) -> None:
    """The judge itself is able to say no."""
    inner = [packets.frame(packets.sized("udp", 100, rng, pair.host_a, pair.host_b)) for _ in range(3)]
    pair.a.replay(lan=inner)
    capture = tmp_path / "a-1-out-wan.pcap"
    damaged = bytearray(capture.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged.pcap").write_bytes(damaged)
    rows = tshark(tmp_path / "damaged.pcap", [pair.tunnel], FIELDS[:2])
    assert rows == [["1", "0"], ["1", "0"], ["0", "1"]]
