"""Looking into a gateway that carries packets: trace, capture, and what they leave behind."""

from __future__ import annotations

import json
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vpngw.gateway import BINARY
from vpngw.live import TRAFFIC, Sites, echo
from vpngw.network import wait_until


class Looking:
    """A verb that looks at packets of a gateway, until it ends or is told to."""

    def __init__(self, sites: Sites, socket: Path, *arguments: object):
        self.log = sites.network.directory / f"looking-{len(list(sites.network.directory.glob('looking-*')))}.log"
        self._output = self.log.open("wb")
        self.process = subprocess.Popen(
            [BINARY, *map(str, arguments), "--socket", socket], stdin=subprocess.DEVNULL, stdout=self._output,
            stderr=subprocess.STDOUT)

    def stop(self) -> str:
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self, code: int = 0) -> str:
        assert self.process.wait(30) == code, self.log.read_text()
        return self.log.read_text()


def begun(sites: Sites) -> None:
    """Until the gateway says that somebody looks."""
    wait_until(lambda: " begins, asked by " in sites.a.log.read_text(), lambda: sites.a.log.read_text())


def socket(sites: Sites) -> Path:
    return sites.a.site.with_suffix(".sock")


def test_trace_says_what_became_of_packets(sites: Sites):
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 0)
    trace = Looking(sites, socket(sites), "trace", "--count", 6)
    begun(sites)
    echo(sites.network, "host-a", "10.0.2.10", 10, 12)
    said = trace.ended()
    packets = re.split(r"(?m)^(?=\d+  )", said)[1:]
    assert len(packets) == 6 and "6 packet(s)" in said
    for line in ("received on port lan", "policy protect by tunnel b", "next hop 192.0.2.2",
                 "SA 0x00001001 of tunnel b, in software", "by port wan, ", "esp SPI 0x00001001 sequence number 2"):
        assert line in re.sub(" +", " ", packets[0]), packets[0]
    for line in ("received on port wan", "inbound SA 0x00002001 of tunnel b, in software", "is above all before, 1",
                 "the ICV is right", "inner 10.0.2.10 -> 10.0.1.10 icmp echo reply, 38 octets", "route by port lan",
                 "sent by port lan"):
        assert line in re.sub(" +", " ", packets[1]), packets[1]
    sites.stop()


def test_trace_chooses_and_speaks_json(sites: Sites):
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 0)
    trace = Looking(sites, socket(sites), "trace", "--drop", "ttl_expired", "--json", "--count", 2)
    begun(sites)
    echo(sites.network, "host-a", "10.0.2.10", 10, 12)
    for _ in range(2):
        sites.network.run("host-a", "ping", "-c", 1, "-W", 1, "-t", 1, "10.0.2.10", check=False)
    lines = trace.ended().splitlines()
    packets = [json.loads(line) for line in lines if line.startswith("{")]
    assert [packet["reason"] for packet in packets] == ["ttl_expired", "ttl_expired"]
    assert packets[0]["port"] == "lan" and packets[0]["stages"][-1]["stage"] == "dropped"
    # One who looks at a time, and only at what there is.
    first = Looking(sites, socket(sites), "trace", "--spi", "0x2001")
    wait_until(lambda: sites.a.log.read_text().count("a trace begins") == 2, lambda: sites.a.log.read_text())
    assert "somebody looks at packets already: a trace of uid 0" in Looking(sites, socket(sites), "trace").ended(69)
    echo(sites.network, "host-a", "10.0.2.10", 0, 0)
    wait_until(lambda: "0x00002001" in first.log.read_text(), lambda: first.log.read_text())
    assert "1 packet(s)" in first.stop()
    assert "no port" in Looking(sites, socket(sites), "capture", "--port", "wlan", "--write", "/dev/null").ended(78)
    assert "no drop reason" in Looking(sites, socket(sites), "trace", "--drop", "bored").ended(64)
    sites.stop()


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_a_capture_is_what_wireshark_reads(sites: Sites):
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 0)
    path = sites.network.directory / "wan.pcapng"
    path.write_text("what was there before")
    path.chmod(0o644)
    capture = Looking(sites, socket(sites), "capture", "--port", "wan", "--write", path)
    begun(sites)
    echo(sites.network, "host-a", "10.0.2.10", 100, 104)
    wait_until(lambda: path.stat().st_size > 20 * 100, lambda: str(path.stat().st_size))
    said = capture.stop()
    count = int(re.search(r"(\d+) packet\(s\)", said)[1])
    assert count >= 20 and stat.S_IMODE(path.stat().st_mode) == 0o600
    about = subprocess.run(["capinfos", "-M", path], capture_output=True, text=True, check=True).stdout
    assert re.search(rf"Number of packets:\s+{count}\b", about) and "Interface #1" in about, about
    fields = ["frame.interface_name", "frame.protocols", "frame.len", "frame.packet_flags_direction", "frame.comment",
              "frame.time_epoch"]
    done = subprocess.run(
        ["tshark", "-r", path, "-T", "json", *[word for field in fields for word in ("-e", field)]],
        capture_output=True, text=True, check=True)
    rows = [{name: values[0] for name, values in packet["_source"]["layers"].items()} for packet in json.loads(done.stdout)]
    esp = [row for row in rows if row["frame.interface_name"] == "wan" and ":esp" in row["frame.protocols"]]
    clear = [row for row in rows if row["frame.interface_name"] == "wan-clear"]
    assert len(esp) >= 10 and all(":icmp" in row["frame.protocols"] for row in clear)
    assert {row["frame.comment"] for row in clear} == {"before ESP or AH", "after ESP or AH was opened"}
    # Five questions and five answers, inner packets of 128 to 132 octets.
    assert sorted(int(row["frame.len"]) for row in clear) == sorted(2 * list(range(128, 133)))
    sites.stop()


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_dropped_packets_carry_their_reason(sites: Sites):
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 0)
    path = sites.network.directory / "dropped.pcapng"
    capture = Looking(
        sites, socket(sites), "capture", "--port", "lan", "--write", path, "--dropped", "--count", 3, "--snap-octets", 64)
    begun(sites)
    echo(sites.network, "host-a", "10.0.2.10", 100, 104)
    for _ in range(3):
        sites.network.run("host-a", "ping", "-c", 1, "-W", 1, "-t", 1, "10.0.2.10", check=False)
    assert "3 packet(s)" in capture.ended()
    done = subprocess.run(
        ["tshark", "-r", path, "-T", "fields", "-e", "frame.comment", "-e", "frame.cap_len", "-e", "frame.len", "-e", "ip.ttl"],
        capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == 3 * ["ttl_expired: its TTL or hop limit would reach 0\t64\t98\t1"]
    sites.stop()


def test_who_goes_without_a_word_is_forgotten(sites: Sites):
    sites.start()
    control = sites.a.control
    status, answer = control._ask("POST", "/v1/observe/start", json.dumps({"kind": "trace", "count": 1000}))
    assert status == 200
    echo(sites.network, "host-a", "10.0.2.10", 0, 3)
    wait_until(lambda: "ends: nobody asks for it any more" in sites.a.log.read_text(), lambda: sites.a.log.read_text(), 30)
    body = json.dumps({"observation": answer["observation"]})
    assert control._ask("POST", "/v1/observe/take", body)[1]["exit_code"] == 69
    # And somebody else may look.
    assert control._ask("POST", "/v1/observe/start", json.dumps({"kind": "trace", "count": 1}))[0] == 200
    sites.stop()


def test_traffic_goes_on_at_speed_while_somebody_looks(sites: Sites):
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 0)
    path = sites.network.directory / "all.pcapng"
    capture = Looking(sites, socket(sites), "capture", "--port", "wan", "--write", path, "--file-mib", 1)
    begun(sites)
    log = sites.network.directory / "receive.log"
    receiver = sites.network.start("host-b", sys.executable, TRAFFIC, "receive", 5001, log=log)
    wait_until(lambda: "listening" in log.read_text(), lambda: log.read_text())
    sent = sites.network.run("host-a", sys.executable, TRAFFIC, "send", "10.0.2.10", 5001, 8 << 20, timeout=100).split()
    assert receiver.wait(60) == 0 and log.read_text().split()[1:] == ["received", *sent[1:]]
    said = capture.ended()
    assert "the file has come to its limit" in said and (1 << 20) <= path.stat().st_size < 8 << 20
    sites.stop()
