"""No IV is ever used twice under a key, whatever ends a run; and sequence numbers go on where they may."""

from __future__ import annotations

import dataclasses
import os
import struct

from vpngw.gateway import command, replay
from vpngw.live import LiveGateway, One, Sites, echo
from vpngw.wiretap import ESPPacket, Wiretap, esp, is_esp


def outbound(frames: list[bytes]) -> list[ESPPacket]:
    """What gw-a encrypted, in the order in which it left."""
    return [packet for packet in map(esp, filter(is_esp, frames)) if packet.spi == 0x1001]


def assert_nonces_unique(packets: list[ESPPacket]) -> None:
    vectors = [packet.initialization_vector for packet in packets]
    assert len(set(vectors)) == len(vectors), f"{len(vectors) - len(set(vectors))} of {len(vectors)} IVs are repeated"
    numbers = [packet.sequence_number for packet in packets]
    assert len(set(numbers)) == len(numbers)
    assert numbers == sorted(numbers) and vectors == sorted(vectors)


def test_a_second_run_goes_on_behind_the_first(sites: Sites):
    wire = Wiretap(sites.network, "gw-a", "wan", octets=64)
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 49)
    first = sites.a.stop()
    sites.a = LiveGateway(sites.network, "gw-a", sites.site_a.write()).wait_running()
    echo(sites.network, "host-a", "10.0.2.10", 0, 49)
    second, _ = sites.stop()
    packets = outbound(wire.stop())
    assert len(packets) == 100
    assert_nonces_unique(packets)
    last = {report["sas"][0]["sequence_number"] for report in (first, second)}
    assert last == {packets[49].sequence_number, packets[99].sequence_number}
    assert packets[50].sequence_number > packets[49].sequence_number


def test_state_directory_that_can_not_be(one: One):
    directory = one.site.directory
    directory.joinpath("file").write_text("")
    for place in ("file/state", "absent/state"):
        run = one.run(one.site.text().replace(f"{directory}/gw-state", f"{directory}/{place}")).ended()
        assert run.code == 74, run.stderr
        assert f"{directory}/{place}" in run.stderr
        assert "The state directory must be one that vpn-gw may write" in run.stderr


def test_replay_refuses_keys_that_were_on_the_wire(one: One):
    one.run().wait_running().stop()
    capture = one.site.directory / "empty.pcap"
    capture.write_bytes(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    run = command("pcap", "--config", one.site.write(), "--in", f"lan={capture}")
    assert run.code == 78, run.stderr
    assert "the keys of peer have been used on the wire by this state directory" in run.stderr
    replay(one.site.write(), [("lan", capture)], [], "--reuse-keys")
    # Other keys under the same names are nobody's business.
    one.site.tunnels = [dataclasses.replace(
        one.site.tunnels[0], outbound_key=os.urandom(20), inbound_key=os.urandom(20))]
    replay(one.site.write(), [("lan", capture)], [])
