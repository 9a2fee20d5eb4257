"""The ixgbe model under DPDK's own driver: what it encrypts, another library opens, and the other way round."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from vpngw import capture, nic
from vpngw.network import wait_until

from model.frames import FOUR, PEER, SA, SIX, ethernet, ip

pytestmark = pytest.mark.timeout(90)

SPI, SPI_SIX = 0x11223344, 0xA1B2C3D4
SA_FOUR = SA(SPI, bytes(range(0x10, 0x24)))
SA_SIX = SA(SPI_SIX, bytes(range(0x80, 0x94)), SIX)


def text(sequence: int, octets: int) -> bytes:
    return bytes((sequence * 7 + index) & 255 for index in range(octets))


def udp(data: bytes = b"clear text") -> bytes:
    return ethernet(ip(FOUR, 17, b"\x10\x00\x10\x01" + (8 + len(data)).to_bytes(2, "big") + b"\0\0" + data), nic.mac(0))


def findings(report: dict, port: int = 0) -> dict:
    return {name: count for name, count in report["ports"][port]["findings"].items() if count}


@pytest.mark.parametrize("device", ["82599", "x540"])
def test_the_driver_finds_and_starts_it(probe, device: str):
    run = probe("--device", device)
    for port in (0, 1):
        run.start(port, "security")
        shown = run.show(port)
        assert (shown["driver"], shown["link"], shown["speed"]) == ("net_ixgbe", 1, 10000)
    report = run.quit()
    # The driver empties 128 addresses, 1024 SPIs and 2 x 1024 keys of each port at start, and none of it is lost.
    assert [port["table_writes"] for port in report["ports"]] == [128 + 3 * 1024] * 2


def test_what_it_encrypts_another_library_opens(probe, tmp_path: Path):
    run = probe("--wire", f"0=file:,{tmp_path / 'out.pcap'}", ports=1)
    run.start(0, "security")
    sessions = [(sa, run.egress(0, sa.spi, sa.keymat)) for sa in (SA_FOUR, SA_SIX)]
    sent = {SPI: {}, SPI_SIX: {}}
    for sequence, octets in enumerate([1, 2, 3, 4, 15, 16, 17, 64, 84, 85, 86, 87, 100, 256, 777, 1380], 1):
        for sa, session in sessions:
            inner = text(sequence, octets)
            run.send(0, sa.clear(sequence, inner), session, sa.header)
            sent[sa.spi][sequence] = inner
    wait_until(lambda: run.stats(0)["tx_frames"] == 32, "32 frames sent")
    report = run.quit()
    frames = [record.octets for record in capture.read(tmp_path / "out.pcap")]
    opened = {SPI: {}, SPI_SIX: {}}
    for frame in frames:
        sa = SA_SIX if frame[12] == 0x86 else SA_FOUR
        sequence, inner = sa.open(frame)
        opened[sa.spi][sequence] = inner
    assert opened == sent
    assert report["ports"][0]["encrypted"] == len(frames) and findings(report) == {}


def test_what_another_library_seals_it_opens(probe, tmp_path: Path):
    other = SA(SPI, bytes(20)[:-1] + b"\1")
    elsewhere = SA(SPI, SA_FOUR.keymat, ("192.0.2.2", "192.0.2.99"))
    strange = SA(0x99999999, SA_FOUR.keymat)
    inner, seed = text(1, 100), random.randrange(1 << 32)
    rng = random.Random(seed)

    def damaged(frame: bytes) -> bytes:
        """One bit of what the ICV covers, or of the ICV."""
        place = rng.choice([14 + 20 + 7, *range(14 + 20 + 8, len(frame))])
        return frame[:place] + bytes([frame[place] ^ 1 << rng.randrange(8)]) + frame[place + 1 :]

    # Frame, whether the driver says that security was done, and that it failed.
    cases = [
        ("IPv4", SA_FOUR.sealed(1, inner), 1, 0), ("IPv6", SA_SIX.sealed(2, inner), 1, 0),
        ("large", SA_FOUR.sealed(3, text(3, 1400)), 1, 0),
        *((f"damaged {number}", damaged(SA_FOUR.sealed(10 + number, inner)), 1, 1) for number in range(20)),
        ("another key", other.sealed(40, inner), 1, 1),
        ("another SPI", strange.sealed(41, inner), 0, 0), ("another address", elsewhere.sealed(42, inner), 0, 0),
        ("options", SA_FOUR.sealed(43, inner, options=b"\1\1\1\1"), 0, 0),
        ("fragment", SA_FOUR.sealed(44, inner, fragment=0x2000), 0, 0), ("no ESP", udp(), 0, 0),
        ("IPv4 again", SA_FOUR.sealed(45, text(45, 100)), 1, 0),
    ]
    path = capture.write(tmp_path / "in.pcap", [frame for _, frame, _, _ in cases])
    run = probe("--hold", "--wire", f"0=file:{path},", ports=1)
    run.start(0, "security")
    for sa in (SA_FOUR, SA_SIX):
        assert run.ingress(0, sa.spi, sa.keymat, sa.addresses[1]) >= 0
    run.tell("release")
    frames = run.receive(0, len(cases))
    report = run.quit()
    got = [(name, frame["opened"], frame["failed"]) for (name, *_), frame in zip(cases, frames, strict=True)]
    assert got == [(name, opened, failed) for name, _, opened, failed in cases], f"seed {seed}"
    assert SA_FOUR.inner(frames[0]["octets"], 100) == inner and SA_SIX.inner(frames[1]["octets"], 100) == inner
    assert SA_FOUR.inner(frames[2]["octets"], 1400) == text(3, 1400)
    assert SA_FOUR.inner(frames[-1]["octets"], 100) == text(45, 100)
    counters = report["ports"][0]
    assert (counters["decrypted"], counters["decrypt_failed"], counters["not_processed"]) == (4, 21, 4)


def test_a_bad_length_has_no_flag_in_the_driver(probe, tmp_path: Path):
    """The vector receive path of the driver says nothing of this error, whatever the descriptor holds."""
    path = capture.write(tmp_path / "in.pcap", [SA_FOUR.sealed(1, text(1, 100), surplus=b"x")])
    run = probe("--hold", "--wire", f"0=file:{path},", ports=1)
    run.start(0, "security")
    run.ingress(0, SPI, SA_FOUR.keymat, FOUR[1])
    run.tell("release")
    frame, = run.receive(0, 1)
    assert (frame["opened"], frame["failed"]) == (0, 0)
    assert run.quit()["ports"][0]["decrypt_failed"] == 1


def test_crossed_ports_under_load_lose_and_change_nothing(probe):
    run = probe("--protect", 0)
    for port in (0, 1):
        run.start(port, "security")
    session = run.egress(0, SPI, SA_FOUR.keymat)
    run.ingress(1, SPI, SA_FOUR.keymat, "192.0.2.2")
    count = 100_000
    done = run.say("load", 0, 1, session, SPI, count)
    assert done | {"milliseconds": 0} == {
        "sent": count, "received": count, "opened": count, "failed": 0, "wrong": 0, "gaps": 0, "milliseconds": 0}
    # Statistics registers clear when they are read: twice is as good as once.
    run.show(0)
    assert run.show(0)["tx"] == count and run.show(1)["rx"] == count
    assert run.show(1)["rx_octets"] == run.show(0)["tx_octets"]
    report = run.quit()
    assert report["violations"] == 0 and findings(report) == {} and report["ports"][1]["decrypted"] == count


def test_loopback_stays_off_the_wire(probe, tmp_path: Path):
    run = probe("--wire", f"0=file:,{tmp_path / 'out.pcap'}", "--protect", 0, ports=1)
    run.start(0, "loopback")
    run.send(0, udp())
    frame, = run.receive(0, 1)
    assert frame["octets"] == udp().ljust(60, b"\0")
    assert run.quit()["violations"] == 0
    assert capture.read(tmp_path / "out.pcap") == []


def test_queues_by_toeplitz(probe, tmp_path: Path):
    """The driver's default key over addresses and UDP ports; a flow keeps its queue, many flows use all."""
    def flow(number: int) -> bytes:
        data = number.to_bytes(2, "big") + b"\x10\x01\0\x0c\0\0abcd"
        return ethernet(ip((f"10.0.{number}.1", "10.1.0.1"), 17, data), nic.mac(0))

    path = capture.write(tmp_path / "in.pcap", [flow(number % 32) for number in range(64)])
    run = probe("--hold", "--wire", f"0=file:{path},", ports=1)
    run.start(0, queues=4)
    run.tell("release")
    queues = {}
    frames = run.receive(0, 64)
    for frame in frames:
        queues.setdefault(frame["octets"][26:34] + frame["octets"][34:38], set()).add((frame["queue"], frame["hash"]))
    assert len(frames) == 64 and len(queues) == 32
    assert all(len(seen) == 1 for seen in queues.values())
    assert {queue for seen in queues.values() for queue, _ in seen} == {0, 1, 2, 3}
    for key, seen in queues.items():
        (_, got), = seen
        assert got == toeplitz(key)
    run.quit()


def toeplitz(octets: bytes) -> int:
    """Over the key that DPDK's driver has for itself (rss_intel_key)."""
    key = int.from_bytes(bytes.fromhex(
        "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"), "big")
    result = 0
    for place in range(8 * len(octets)):
        if octets[place // 8] >> (7 - place % 8) & 1:
            result ^= key >> (320 - 32 - place) & 0xFFFFFFFF
    return result


def test_addresses_are_filtered(probe, tmp_path: Path):
    stranger = ethernet(udp()[14:], PEER)
    broadcast = ethernet(udp()[14:], b"\xff" * 6)
    group = ethernet(udp()[14:], bytes.fromhex("01005e000005"))
    path = capture.write(tmp_path / "in.pcap", [stranger, group, broadcast, udp()])
    run = probe("--hold", "--wire", f"0=generator:{path},8", ports=1)
    run.start(0)
    run.tell("release", 0)
    frames = run.receive(0, 4)
    assert [frame["octets"][:6] for frame in frames] == [b"\xff" * 6, nic.mac(0)] * 2
    assert run.quit()["ports"][0]["rx_filtered"] == 4


def test_removing_an_sa_switches_the_direction_off(probe):
    """What the driver does to the enable bit (P1): the next packet of another SA leaves in clear, and the judge sees it."""
    run = probe("--protect", 0, "--wire", "sink", ports=1)
    run.start(0, "security")
    first, second = (run.egress(0, spi, SA_FOUR.keymat) for spi in (SPI, SPI + 1))
    run.send(0, SA_FOUR.clear(1, text(1, 64)), first)
    wait_until(lambda: run.stats(0)["tx_frames"] == 1, "the first frame sent")
    assert run.stats()["violations"] == 0
    assert run.say("destroy", second) == {"error": 0}
    run.send(0, SA_FOUR.clear(2, text(2, 64)), first)
    wait_until(lambda: run.stats(0)["tx_frames"] == 2, "the second frame sent")
    report = run.quit(76)
    assert report["ports"][0]["violations"] == {"clear_text": 0, "left_unencrypted": 1, "empty_key": 0}
    assert "left a protected port unprotected" in run.log.read_text()


def test_clear_text_is_a_violation_only_where_it_must_not_be(probe):
    run = probe("--protect", 1, "--wire", "sink")
    for port in (0, 1):
        run.start(port)
        run.send(port, udp())
        run.send(port, PEER + nic.mac(port) + b"\x08\x06" + bytes(46))
        run.send(port, ethernet(ip(FOUR, 17, b"\x11\x94\x11\x94\0\x0c\0\0abcd"), PEER))
    wait_until(lambda: all(port["tx_frames"] == 3 for port in run.stats()["ports"]), "all frames sent")
    report = run.quit(76)
    assert [port["violations"]["clear_text"] for port in report["ports"]] == [0, 1]


def test_an_index_of_eight_bits_is_noticed(probe):
    """P4: the driver's context cache takes SA 256 for SA 0 when nothing else differs."""
    run = probe("--wire", "sink", ports=1)
    run.start(0, "security")
    sessions = [run.egress(0, 0x5000 + number, SA_FOUR.keymat) for number in range(257)]
    for number in (0, 256):
        run.send(0, SA(0x5000 + number, SA_FOUR.keymat).clear(1, text(1, 64)), sessions[number])
    wait_until(lambda: run.stats(0)["tx_frames"] == 2, "both frames sent")
    assert findings(run.quit()) == {"sa_with_two_spis": 1}


def test_faults(probe):
    run = probe()
    for port in (0, 1):
        run.start(port, "security", "lsc")
    session = run.egress(0, SPI, SA_FOUR.keymat)
    run.ingress(1, SPI, SA_FOUR.keymat, "192.0.2.1")
    numbers = iter(range(1, 1000))

    def sent_as(count: int = 1) -> list[tuple[int, int]]:
        """Whether frames arrive opened, and failed."""
        for _ in range(count):
            frame = SA_FOUR.clear(next(numbers), text(1, 64))
            run.send(0, nic.mac(1) + frame[6:], session)
        return [(frame["opened"], frame["failed"]) for frame in run.receive(1, count)]

    assert sent_as() == [(1, 0)]
    run.tell("fault", 0, "bad-icv", 2)
    assert sent_as(3) == [(1, 0), (1, 1), (1, 0)]
    run.tell("fault", 1, "rx-error", "integrity", 2)
    assert sent_as(3) == [(1, 1), (1, 1), (1, 0)]
    run.tell("fault", 1, "rx-error", "not-processed")
    assert sent_as(2) == [(0, 0), (1, 0)]
    run.tell("fault", 0, "lose-frame")
    run.send(0, SA_FOUR.clear(next(numbers), text(1, 64)), session)
    wait_until(lambda: run.stats(0)["wire_lost"] == 1, "a frame lost")

    run.tell("fault", 0, "stall", "on")
    before = run.stats(0)["tx_frames"]
    run.send(0, nic.mac(1) + SA_FOUR.clear(next(numbers), text(1, 64))[6:], session)
    assert run.receive(1, 1, 200) == [] and run.stats(0)["tx_frames"] == before
    run.tell("fault", 0, "stall", "off")
    assert len(run.receive(1, 1)) == 1

    run.tell("fault", 1, "link", "down")
    wait_until(lambda: run.show(1) | {"speed": 0} == run.show(1) | {"link": 0, "events": 1, "speed": 0}, "link down")
    run.tell("fault", 1, "link", "up")
    wait_until(lambda: run.show(1)["link"] == 1 and run.show(1)["events"] == 2, "link up")

    run.tell("fault", 0, "lose-sa-write")
    other = run.egress(0, SPI + 1, SA_FOUR.keymat)
    assert other >= 0, "the driver does not notice"
    assert run.stats(0)["table_writes_lost"] == 1

    resets = run.stats(0)["resets"]
    run.tell("fault", 0, "reset")
    assert run.stats(0)["resets"] == resets + 1
    run.send(0, SA_FOUR.clear(next(numbers), text(1, 64)), session)
    assert run.receive(1, 1, 200) == []
    run.say("stop", 0)
    run.start(0, "security")
    session = run.egress(0, SPI + 2, SA_FOUR.keymat)
    assert session >= 0
    run.quit()


def test_a_command_that_means_nothing_is_refused(probe):
    run = probe("--wire", "sink", ports=1)
    for words in (["fault", 1, "reset"], ["fault", 0, "fire"], ["fault", 0, "link", "sideways"], ["dance"],
                  ["fault", 0, "bad-icv", "many"]):
        with pytest.raises(AssertionError, match="error: "):
            run.tell(*words)
    run.quit()


@pytest.mark.parametrize("victim", ["program", "model", "outer"])
def test_nothing_is_left_of_it(probe, victim: str):
    mounts, before = Path("/proc/self/mounts").read_text(), nic.HUGEPAGES.read_text()
    run = probe("--wire", "sink", ports=1)
    run.start(0)
    inner = int(Path(f"/proc/{run.program}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill({"program": run.program, "model": inner, "outer": run.process.pid}[victim], signal.SIGKILL)
    run.process.wait(20)
    if victim != "outer":
        assert run.process.returncode == 137
    wait_until(lambda: not any(Path(f"/proc/{number}").exists() for number in (run.program, inner)), "processes gone")
    wait_until(lambda: nic.HUGEPAGES.read_text() == before, "hugepages given back")
    assert not run.control.exists() and Path("/proc/self/mounts").read_text() == mounts


def test_each_run_has_hugepages_of_its_own(probe, tmp_path: Path):
    """Two that start at once must not both count on the same free ones."""
    free = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
    before, runs = int(free.read_text()), []
    try:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            runs.append(nic.Run(tmp_path / name, ["sleep", "60"], "--hugepages-mib", 16, "--wire", "sink"))
            wait_until(lambda: int(free.read_text()) >= before + 8 * len(runs), f"run {name} has none of its own")
    finally:
        for run in runs:
            run.close()
    wait_until(lambda: int(free.read_text()) == before, "hugepages given back")


def test_exit_codes_are_the_programs(probe, tmp_path: Path):
    probe("--wire", "sink", ports=1).quit()
    for program, code in ((["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137), (["/no/such"], 127)):
        nic.Run(tmp_path, program, "--wire", "sink").ended(code)
    for options in (["--wire", "string"], ["--ports", "9"], ["--fault", "0 fire"]):
        assert nic.Run(tmp_path, ["true"], *options).process.wait(20) == 64


def test_a_damaged_icv_is_no_icv(probe, tmp_path: Path):
    """The tests' own cipher says no where it should: what they accept means something."""
    run = probe("--wire", f"0=file:,{tmp_path / 'out.pcap'}", "--fault", "0 bad-icv 1", ports=1)
    run.start(0, "security")
    run.send(0, SA_FOUR.clear(1, text(1, 64)), run.egress(0, SPI, SA_FOUR.keymat))
    wait_until(lambda: run.stats(0)["tx_frames"] == 1, "a frame sent")
    run.quit()
    record, = capture.read(tmp_path / "out.pcap")
    with pytest.raises(InvalidTag):
        SA_FOUR.open(record.octets)
