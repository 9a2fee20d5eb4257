"""Reports and capture files: what scripts read and write, and what is said when a file is not as it should be."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
from pathlib import Path
from random import Random

import pytest

from vpngw import capture, packets
from vpngw.capture import MICROSECOND, MILLISECOND, SECOND, START
from vpngw.esp import Association
from vpngw.gateway import BINARY, command, replay
from vpngw.packets import frame, sized
from vpngw.rig import Pair

FRAMES = 200


@pytest.fixture
def inner(pair: Pair, rng: Random) -> list[bytes]:
    """From a's host to b's, of every form."""
    return list(packets.mixed(FRAMES, rng, pair.host_a, pair.host_b))


@pytest.fixture
def lan(tmp_path: Path, inner: list[bytes]) -> Path:
    """A capture of them."""
    return capture.write(tmp_path / "lan.pcap", map(frame, inner))


# ---- the report ----------------------------------------------------------------------------------------------------


def test_the_keys_and_types_of_the_report(pair: Pair, inner: list[bytes]) -> None:
    """The contract's, no more and no fewer; every number a whole one; ports keep their names as they are written."""
    pair.a.site.ports[0].name, pair.a.site.ports[1].name = "lanPort", "wan-0.1"
    replayed = pair.a.replay(**{"lanPort": [*map(frame, inner), frame(inner[0], ethertype=0x88CC)]})
    report = replayed.report
    numbers = [
        "rx_packets",
        "originated_packets",
        "tx_packets",
        "consumed_packets",
        "dropped_packets",
        "in_flight_packets",
    ]
    assert set(report) == {*numbers, "ports", "drops", "sas"}
    assert all(type(report[key]) is int for key in numbers)
    assert set(report["ports"]) == {"lanPort", "wan-0.1"}
    for port in report["ports"].values():
        assert set(port) == {"rx_packets", "rx_octets", "tx_packets", "tx_octets"}
        assert all(type(value) is int for value in port.values())
    assert report["drops"] == {"unsupported_ethertype": 1}
    assert report["ports"]["lanPort"]["rx_octets"] == sum(len(packet) + 14 for packet in (*inner, inner[0]))
    tunnel = pair.tunnel
    for sa, direction, spi in zip(report["sas"], ("outbound", "inbound"), (tunnel.outbound_spi, tunnel.inbound_spi)):
        assert set(sa) == {
            "tunnel",
            "spi",
            "direction",
            "path",
            "algorithm",
            "mode",
            "extended_sequence_numbers",
            "packets",
            "octets",
            "sequence_number",
            "offloaded_packets",
            "fallback_packets",
        }
        assert (sa["tunnel"], sa["spi"], sa["direction"], sa["path"]) == (
            "site-b",
            f"{spi:#010x}",
            direction,
            "software",
        )
        assert all(type(sa[key]) is int for key in ("packets", "octets", "sequence_number", "offloaded_packets"))
        assert type(sa["fallback_packets"]) is dict
    assert [sa["packets"] for sa in report["sas"]] == [FRAMES, 0]
    assert "nonces" in replayed.stderr


def test_keys_appear_nowhere(pair: Pair, lan: Path, tmp_path: Path) -> None:
    """Neither in the report nor on stderr, whole or in part, in either case."""
    result = replay(pair.a.site.write(), [("lan", lan)], [])
    said = (result.stderr + result.stdout + json.dumps(result.report)).lower()
    for key in (pair.tunnel.outbound_key, pair.tunnel.inbound_key):
        assert not any(key.hex()[start : start + 8] in said for start in range(0, 33, 2))


def test_the_same_input_gives_the_same_output(pair: Pair, inner: list[bytes], rng: Random, tmp_path: Path) -> None:
    """Byte for byte: captures, drops and report, whatever the machine's clock and the number of worker cores say."""
    sender = Association.inbound(pair.tunnel)
    lan_frames = [
        *map(frame, inner),
        frame(sized("udp", 80, rng, pair.host_a, pair.host_b, ttl=1)),
        packets.arp(1, packets.HOST_MAC, pair.host_a, bytes(6), "10.0.1.1"),
        b"short",
    ]
    wan_frames = [
        sender.frame(number, sized("udp", 90, rng, pair.host_b, pair.host_a)) for number in (*range(1, 100), 5)
    ]
    files = [
        ("lan", capture.write(tmp_path / "l.pcap", lan_frames)),
        ("wan", capture.write(tmp_path / "w.pcap", wan_frames)),
    ]
    outcomes = []
    for run, cores in enumerate(([0], [0, 1])):
        pair.a.site.worker_cores = cores
        directory = tmp_path / f"run-{run}"
        directory.mkdir()
        outputs = [(port, directory / f"{port}.pcap") for port in ("lan", "wan")]
        for option in ([], ["--resolve"]):
            replay(
                pair.a.site.write(),
                files,
                outputs,
                "--drops",
                directory / "drops.pcap",
                *option,
                report=directory / "report.json",
            )
        outcomes.append({path.name: path.read_bytes() for path in directory.iterdir()})
    assert outcomes[0] == outcomes[1]
    assert set(outcomes[0]) == {"lan.pcap", "wan.pcap", "drops.pcap", "report.json"}


# ---- merging -------------------------------------------------------------------------------------------------------


def test_inputs_are_merged_by_time_then_by_order_then_by_position(pair: Pair, rng: Random, tmp_path: Path) -> None:
    """Sequence numbers tell in which order packets were taken."""

    def capture_of(name: str, times: list[int]) -> tuple[Path, list[tuple[int, bytes]]]:
        records = [(START + time, sized("unknown", 60, rng, pair.host_a, pair.host_b)) for time in times]
        path = capture.write(tmp_path / name, [(time, frame(packet)) for time, packet in records])
        return path, records

    pair.a.site.ports.append(type(pair.a.site.ports[0])("dmz", "protected", ["10.0.7.1/24"]))
    pair.a.site.tunnels[0].local_subnets.append("10.0.7.0/24")
    times = [[0, 5, 5, 9, 2000], [0, 1, 5, 8, 3 * SECOND], [5, 5, 5, 4, 3, 9]]  # the last goes back: it stays at 5
    captures = [capture_of(f"{index}.pcap", some) for index, some in enumerate(times)]
    latest = [max(5, time) for time in times[2]]
    effective = [times[0], times[1], latest]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        ports = {0: "lan", 1: "dmz", 2: "lan"}
        replayed = pair.a.replay_files([(ports[index], captures[index][0]) for index in order])
        expected = sorted(
            (
                (effective[index][position], order.index(index), position, packet)
                for index in order
                for position, (_, packet) in enumerate(captures[index][1])
            )
        )
        opened = [Association.outbound(pair.tunnel).open(packet) for packet in replayed.packets("wan")]
        assert [one.payload for one in opened] == [packets.forwarded(packet) for *_, packet in expected]
        assert [record.time - START for record in replayed.out["wan"]] == [time for time, *_ in expected]
        assert [one.sequence for one in opened] == list(range(1, 17))


def test_a_packet_leaves_with_the_time_it_came(pair: Pair, inner: list[bytes], rng: Random) -> None:
    """To the nanosecond, over bursts and gaps of every length."""
    time, timed = START, []
    for packet in inner:
        time += rng.choice((0, 1, 999, MICROSECOND, MILLISECOND, 17 * MILLISECOND, SECOND, 86_400 * SECOND))
        timed.append((time, frame(packet)))
    replayed = pair.a.replay(lan=timed)
    assert [record.time for record in replayed.out["wan"]] == [time for time, _ in timed]


def test_ports_without_an_output(pair: Pair, lan: Path) -> None:
    """What leaves by a port without a file counts as sent."""
    result = replay(pair.a.site.write(), [("lan", lan)], [])
    assert result.report["tx_packets"] == result.report["ports"]["wan"]["tx_packets"] == FRAMES


# ---- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("nanoseconds", [True, False], ids=["ns", "us"])
@pytest.mark.parametrize(
    "link_type", [capture.ETHERNET, capture.RAW_IP, 12, 228], ids=["Ethernet", "raw", "raw-12", "IPv4"]
)
def test_pcap_of_every_kind(
    pair: Pair, inner: list[bytes], tmp_path: Path, link_type: int, nanoseconds: bool, order: str
) -> None:
    """Byte orders, resolutions and link types make no difference but to the time's resolution."""
    octets = map(frame, inner) if link_type == capture.ETHERNET else inner
    path = capture.write(
        tmp_path / "in.pcap", octets, link_type=link_type, nanoseconds=nanoseconds, order=order, spacing=1500
    )
    replayed = pair.a.replay_files([("lan", path)])
    opened = [Association.outbound(pair.tunnel).open(packet).payload for packet in replayed.packets("wan")]
    assert opened == [packets.forwarded(packet) for packet in inner]
    times = [START + index * 1500 for index in range(FRAMES)]
    assert [record.time for record in replayed.out["wan"]] == [
        time if nanoseconds else time // 1000 * 1000 for time in times
    ]


def test_raw_ipv6_is_read_as_such(pair: Pair, tmp_path: Path) -> None:
    """The version says what a packet is that has no Ethernet header: here a whole one from nobody, and half of one."""
    whole = b"\x60\0\0\0\0\0\x3b\x40" + bytes(32)
    path = capture.write(tmp_path / "in.pcap", [whole, whole[:39]], link_type=capture.RAW_IP)
    assert pair.a.replay_files([("lan", path)]).report["drops"] == {"martian": 1, "malformed": 1}


@pytest.mark.parametrize("link", ["ether", "rawip4"])
def test_pcapng(pair: Pair, inner: list[bytes], lan: Path, tmp_path: Path, link: str) -> None:
    """As Wireshark's own tools write it."""
    source = lan
    if link == "rawip4":
        source = capture.write(tmp_path / "raw.pcap", inner, link_type=capture.RAW_IP)
    path = tmp_path / "in.pcapng"
    subprocess.run(["editcap", "-F", "pcapng", source, path], check=True, capture_output=True)
    assert path.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    replayed = pair.a.replay_files([("lan", path)])
    opened = [Association.outbound(pair.tunnel).open(packet).payload for packet in replayed.packets("wan")]
    assert opened == [packets.forwarded(packet) for packet in inner]
    assert [record.time for record in replayed.out["wan"]] == [START + index * MICROSECOND for index in range(FRAMES)]


def test_what_it_writes_others_can_read(pair: Pair, lan: Path, tmp_path: Path) -> None:
    """capinfos: a pcap file with nanoseconds, the right number of packets, nothing cut."""
    pair.a.replay_files([("lan", lan)])
    done = subprocess.run(
        ["capinfos", "-M", "-T", "-t", "-c", "-l", tmp_path / "a-1-out-wan.pcap"],
        check=True,
        capture_output=True,
        text=True,
    )
    header, row = (line.split("\t") for line in done.stdout.splitlines())
    facts = dict(zip(header, row))
    assert facts["File type"] == "nsecpcap"
    assert facts["Number of packets"] == str(FRAMES)
    assert facts["Packet size limit"] == "262144" or facts["Packet size limit"] == "(not set)"


@pytest.mark.parametrize("link_type", [113, 276, 147, 127], ids=["cooked", "cooked-2", "user-0", "radiotap"])
def test_link_types_that_are_not_carried(pair: Pair, tmp_path: Path, link_type: int) -> None:
    path = capture.write(tmp_path / "in.pcap", [bytes(60)], link_type=link_type)
    result = replay(pair.a.site.write(), [("lan", path)], [], code=65)
    assert str(path) in result.stderr and "link type" in result.stderr


# ---- modes and names -----------------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_captures_are_for_their_owner_alone(pair: Pair, lan: Path, tmp_path: Path) -> None:
    """0600, whatever the umask, and for files that were there before as well: their nonces repeat."""
    old = tmp_path / "old.pcap"
    old.write_bytes(b"something longer than what comes" * 10_000)
    old.chmod(0o666)
    before = os.umask(0)
    try:
        replay(
            pair.a.site.write(),
            [("lan", lan)],
            [("wan", old), ("lan", tmp_path / "new.pcap")],
            "--drops",
            tmp_path / "drops.pcap",
            report=tmp_path / "report.json",
        )
    finally:
        os.umask(before)
    assert [mode(tmp_path / name) for name in ("old.pcap", "new.pcap", "drops.pcap", "report.json")] == [0o600] * 4
    assert len(capture.read(old)) == FRAMES


@pytest.mark.parametrize("output", ["same", "other spelling", "symbolic link", "hard link", "drops", "report", "twice"])
def test_outputs_that_would_destroy_inputs(pair: Pair, lan: Path, tmp_path: Path, output: str) -> None:
    """Refused before anything is opened, and the input is as it was."""
    before, other = lan.read_bytes(), tmp_path / "other.pcap"
    site = pair.a.site.write()
    arguments: list[str | Path] = ["pcap", "--config", site, "--in", f"lan={lan}"]
    if output == "symbolic link":
        other.symlink_to(lan)
    elif output == "hard link":
        os.link(lan, other)
    arguments += {
        "same": ["--out", f"wan={lan}"],
        "other spelling": ["--out", f"wan={tmp_path}/./x/../lan.pcap"],
        "symbolic link": ["--out", f"wan={other}"],
        "hard link": ["--out", f"wan={other}"],
        "drops": ["--drops", lan],
        "report": ["--report", lan],
        "twice": ["--out", f"wan={tmp_path}/n.pcap", "--drops", f"{tmp_path}/n.pcap"],
    }[output]
    (tmp_path / "x").mkdir()
    result = command(*arguments)
    assert result.code == 64, result.stderr
    assert "same file" in result.stderr or "twice" in result.stderr
    assert lan.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--in", "lan"], "PORT=FILE"),
        (["--in", "=x.pcap"], "PORT=FILE"),
        (["--in", "lan="], "PORT=FILE"),
        ([], "input"),
        (["--in", "moon=LAN"], "no port"),
        (["--in", "lan=LAN", "--out", "moon=x.pcap"], "no port"),
        (["--in", "lan=LAN", "--out", "wan=1.pcap", "--out", "wan=2.pcap"], "twice"),
        (["--in", "lan=LAN", "--frobnicate"], "option"),
    ],
)
def test_usage(pair: Pair, lan: Path, arguments: list[str], words: str) -> None:
    """What the command line alone shows to be wrong is 64, with words."""
    result = command(
        "pcap", "--config", pair.a.site.write(), *(argument.replace("LAN", str(lan)) for argument in arguments)
    )
    assert result.code == 64, result.stderr
    assert words.lower() in result.stderr.lower()


# ---- broken files --------------------------------------------------------------------------------------------------


def offsets(path: Path) -> list[int]:
    """Where each record of a little-endian pcap file starts, and the file's end."""
    data, found = path.read_bytes(), [24]
    while found[-1] < len(data):
        found.append(found[-1] + 16 + struct.unpack_from("<I", data, found[-1] + 8)[0])
    return found


@pytest.mark.parametrize("more", [1, 8, 15, 16, 17, -1], ids=lambda more: f"{more} octets of the record")
@pytest.mark.parametrize("whole", [0, 1, 31, 32, 33, 150])
def test_a_truncated_capture(pair: Pair, lan: Path, inner: list[bytes], tmp_path: Path, whole: int, more: int) -> None:
    """65, where the broken record starts, and everything before it in the output, whichever burst it ends."""
    starts = offsets(lan)
    end = starts[whole] + more if more > 0 else starts[whole + 1] - 1
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(lan.read_bytes()[:end])
    out, report = tmp_path / "out.pcap", tmp_path / "report.json"
    result = replay(pair.a.site.write(), [("lan", cut)], [("wan", out)], code=65, report=report)
    assert f"{cut}: at octet {starts[whole]}:" in result.stderr
    association = Association.outbound(pair.tunnel)
    opened = [association.open(record.packet).payload for record in capture.read(out)]
    assert opened == [packets.forwarded(packet) for packet in inner[:whole]]
    assert result.report["rx_packets"] == whole


def test_a_record_that_no_capture_can_have(pair: Pair, lan: Path, tmp_path: Path) -> None:
    """A length beyond all limits in the middle: 65 with its offset, and no memory for what it claims."""
    data, start = bytearray(lan.read_bytes()), offsets(lan)[100]
    struct.pack_into("<I", data, start + 8, 0x7FFFFFF0)
    (tmp_path / "bad.pcap").write_bytes(data)
    result = replay(pair.a.site.write(), [("lan", tmp_path / "bad.pcap")], [("wan", tmp_path / "o.pcap")], code=65)
    assert f"at octet {start}:" in result.stderr
    assert len(capture.read(tmp_path / "o.pcap")) == 100


def test_a_broken_file_among_others(pair: Pair, rng: Random, tmp_path: Path) -> None:
    """What came before the break by time is processed, of all files; what may come after it is not."""
    there = [(START + index * SECOND, frame(sized("udp", 80, rng, pair.host_a, pair.host_b))) for index in range(10)]
    good = capture.write(tmp_path / "good.pcap", there)
    broken = capture.write(tmp_path / "broken.pcap", [(time + 1, octets) for time, octets in there[:6]])
    broken.write_bytes(broken.read_bytes()[:-1])
    result = replay(pair.a.site.write(), [("lan", good), ("lan", broken)], [("wan", tmp_path / "o.pcap")], code=65)
    assert "broken.pcap: at octet" in result.stderr
    times = [record.time - START for record in capture.read(tmp_path / "o.pcap")]
    assert times == [at for index in range(5) for at in (index * SECOND, index * SECOND + 1)]


@pytest.mark.parametrize(
    "content", [b"", b"\xd4", b"text, no capture", bytes(24), bytes(100), b"\x1f\x8b\x08" + bytes(60)]
)
def test_what_is_no_capture(pair: Pair, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(content)
    result = replay(pair.a.site.write(), [("lan", path)], [], code=65)
    assert f"{path}: at octet 0:" in result.stderr


def test_an_absent_capture(pair: Pair, tmp_path: Path) -> None:
    result = replay(pair.a.site.write(), [("lan", tmp_path / "absent.pcap")], [("wan", tmp_path / "o.pcap")], code=66)
    assert "absent.pcap: no such file" in result.stderr
    assert not (tmp_path / "o.pcap").exists()


def test_a_directory_as_a_capture(pair: Pair, tmp_path: Path) -> None:
    result = replay(pair.a.site.write(), [("lan", tmp_path)], [], code=66)
    assert str(tmp_path) in result.stderr


def test_an_empty_capture(pair: Pair, tmp_path: Path) -> None:
    """No packets is no error: an output without packets, a report of zeros."""
    path = capture.write(tmp_path / "in.pcap", [])
    replayed = pair.a.replay_files([("lan", path)])
    assert replayed.out == {"lan": [], "wan": []}
    assert replayed.report["rx_packets"] == 0


# ---- outputs that fail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--out", "--drops", "--report"])
def test_an_output_in_no_directory(pair: Pair, lan: Path, tmp_path: Path, option: str) -> None:
    missing = tmp_path / "missing" / "file"
    result = command(
        "pcap",
        "--config",
        pair.a.site.write(),
        "--in",
        f"lan={lan}",
        option,
        f"wan={missing}" if option == "--out" else missing,
    )
    assert result.code == 73
    assert str(missing) in result.stderr and "No such file or directory" in result.stderr


@pytest.mark.parametrize("count", [10, 2000], ids=["told when closing", "told while writing"])
@pytest.mark.parametrize("option", ["--out", "--drops"])
def test_a_full_disk(pair: Pair, rng: Random, tmp_path: Path, option: str, count: int) -> None:
    """An error, not a crash and not silence; whenever the system tells of it."""
    ends = (pair.host_a, pair.host_b) if option == "--out" else (pair.host_a, "203.0.113.9")
    path = capture.write(tmp_path / "in.pcap", [frame(sized("udp", 1400, rng, *ends)) for _ in range(count)])
    result = command(
        "pcap",
        "--config",
        pair.a.site.write(),
        "--in",
        f"lan={path}",
        option,
        "wan=/dev/full" if option == "--out" else "/dev/full",
    )
    assert result.code == 73, result.stderr
    assert "/dev/full" in result.stderr and "No space left on device" in result.stderr


def test_neither_root_nor_hugepages(pair: Pair, lan: Path, inner: list[bytes]) -> None:
    """An ordinary user may replay; what he may not read or write is 77, and the message names it."""
    nobody = 65534 if os.geteuid() == 0 else None
    identity: dict = {"user": nobody, "group": nobody, "extra_groups": []} if nobody else {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        site = pair.a.site.write()
        site.write_text(site.read_text().replace(str(site.parent), name))  # the state directory, which is looked at
        files = {"site.toml": site, "lan.pcap": lan, "secret.pcap": lan, "vpn-gw": BINARY}
        for file, source in files.items():
            shutil.copy(source, directory / file)
            (directory / file).chmod(0o755)
        (directory / "secret.pcap").chmod(0)
        own, others = directory / "own", directory / "others"
        own.mkdir(mode=0o755)
        others.mkdir(mode=0o555)
        if nobody:
            os.chown(own, nobody, nobody)

        def run(capture_: str, output: Path) -> subprocess.CompletedProcess[str]:
            arguments = ["pcap", "--config", "site.toml", "--in", f"lan={capture_}", "--out", f"wan={output}"]
            return subprocess.run(
                [directory / "vpn-gw", *arguments],
                cwd=directory,
                capture_output=True,
                text=True,
                timeout=60,
                **identity,
            )

        done = run("lan.pcap", own / "o.pcap")
        assert done.returncode == 0, done.stderr
        assert "others may read" in done.stderr, "keys in a file that others may read: a warning"
        assert len(capture.read(own / "o.pcap")) == len(inner)
        for capture_, output, named in (
            ("secret.pcap", own / "o.pcap", "secret.pcap"),
            ("lan.pcap", others / "o.pcap", "others"),
        ):
            done = run(capture_, output)
            assert done.returncode == 77, done.stderr
            assert named in done.stderr and "permission denied" in done.stderr


def test_null_devices_and_pipes(pair: Pair, lan: Path, inner: list[bytes], tmp_path: Path) -> None:
    """/dev/null any number of times; a pipe as an input."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cp", lan, pipe]) as feeder:
        result = replay(
            pair.a.site.write(),
            [("lan", pipe)],
            [("lan", Path("/dev/null")), ("wan", Path("/dev/null"))],
            "--drops",
            "/dev/null",
            report=tmp_path / "report.json",
        )
        assert feeder.wait(timeout=10) == 0
    assert result.report["tx_packets"] == len(inner)


# ---- the site file -------------------------------------------------------------------------------------------------


def test_a_bad_site_lists_all_of_its_problems(pair: Pair, lan: Path) -> None:
    """78, each problem with its line and what it is about, before any output is opened."""
    pair.a.site.ports[0].extra = "colour = 3"
    pair.a.site.routes.append(("203.0.113.0/24", "172.16.0.1"))
    pair.a.site.tunnels[0].inbound_spi = 17
    site = pair.a.site.write()
    out = lan.with_name("out.pcap")
    result = replay(site, [("lan", lan)], [("wan", out)], code=78)
    for words in ("colour", "172.16.0.1", "SPI 17"):
        line = next((line for line in result.stderr.splitlines() if words in line), "")
        assert re.search(r"\b\d+\b", line), f"{words}: {result.stderr}"
    assert not out.exists()


def test_a_site_that_is_not_there(pair: Pair, lan: Path, tmp_path: Path) -> None:
    assert command("pcap", "--config", tmp_path / "none.toml", "--in", f"lan={lan}").code == 66


def test_neither_devices_nor_dpdk_are_needed(pair: Pair, lan: Path) -> None:
    """A site for captures alone names no device, and one with devices that this machine lacks works all the same."""
    pair.a.site.ports[0].device, pair.a.site.ports[1].device = "0000:ff:1f.7", "net_af_packet0,iface=none"
    site = pair.a.site.write()
    assert replay(site, [("lan", lan)], []).report["tx_packets"] == FRAMES
    text = re.sub(r"\[dpdk\]\n(\w+ = .*\n)*|device = .*\n", "", site.read_text())
    site.write_text(text)
    assert "\ndevice" not in text and "[dpdk]" not in text
    assert replay(site, [("lan", lan)], []).report["tx_packets"] == FRAMES


def test_two_replays_at_once(pair: Pair, lan: Path, tmp_path: Path) -> None:
    """Nothing of one run is in the other's way."""
    arguments = ["pcap", "--config", pair.a.site.write(), "--in", f"lan={lan}"]
    runs = [
        subprocess.Popen([BINARY, *arguments, "--out", f"wan={tmp_path}/{number}.pcap"], stderr=subprocess.DEVNULL)
        for number in range(4)
    ]
    assert [run.wait(timeout=60) for run in runs] == [0] * 4
    assert len({(tmp_path / f"{number}.pcap").read_bytes() for number in range(4)}) == 1
