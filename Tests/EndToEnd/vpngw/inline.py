"""Scenarios through a gateway that runs on the model: what its NICs do must be what software does, octet by octet."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from . import capture, nic
from .clock import standing_still, together
from .control import Control
from .gateway import BINARY, assert_conserved
from .live import cores
from .network import wait_until
from .packets import HOST_MAC, PORT_MAC
from .scenario import Case, toml
from .scenario_run import CaseRun

MTU = 9000
"""Larger frames are not for this NIC."""
NOW = 1_700_000_000
AT_ONCE = 256
ADDRESS = re.compile(r"^[0-9a-fA-F:.]+$")


def applies(case: Case) -> bool:
    """Whether a case can be run by a gateway that runs, with frames that come when they come."""
    table = case.scenario.table
    return not (table.keys() & {"refused", "arguments"} or "punt" in case.site
                or any(entry.keys() & {"at_ms", "spacing_us"} for entry in table.get("in", [])) or len(case.site["port"]) > 4
                or any(port.get("mtu_octets", 1500) > MTU for port in case.site["port"]))


@dataclass
class Outcome:
    """What a run of a case left behind."""

    report: dict
    out: dict[str, list[bytes]]
    model: dict

    def told(self) -> dict:
        """What must be the same whoever encrypts."""
        sas = [{key: row[key] for key in ("tunnel", "spi", "direction", "packets", "octets", "sequence_number")}
               for row in self.report["sas"]]
        # Whether a packet is too old or a copy is told by the window as it is when its burst is looked at, and when the
        # burst has been opened: which of the two is for where a burst ended.
        drops = Counter({"outside_window": 0})
        for reason, count in self.report["drops"].items():
            drops["outside_window" if reason in ("late", "replayed") else reason] += count
        return {"ports": self.report["ports"], "drops": drops, "sas": sas}


class InlineRun:
    """One run of a case, on a model of its own, in a directory of its own."""

    def __init__(self, case: Case, directory: Path, offload: str):
        directory.mkdir(parents=True)
        self.case, self.directory = case, directory
        self.ports = [port["name"] for port in case.site["port"]]
        self._inputs = dict(CaseRun(case, directory).write_inputs())
        for number, port in enumerate(self.ports):
            if path := self._inputs.get(port):
                self._address(number, path)
        site = directory / "site.toml"
        site.touch(mode=0o600)
        site.write_text(self._site(offload))
        self._model = directory / "model.sock"
        wires = []
        for number, port in enumerate(self.ports):
            wires += ["--wire", f"{number}=file:{self._inputs.get(port, '')},{directory / f'out-{port}.pcap'}"]
            if case.site["port"][number].get("role") == "unprotected":
                wires += ["--protect", number]
        arguments = [nic.MODEL, "run", "--ports", max(2, len(self.ports)), *wires, "--hold", "--hugepages-mib", 1024,
                     "--control", self._model, "--report", directory / "model.json", "--", BINARY, "--config", site,
                     "--report", directory / "report.json"]
        self.log = directory / "log.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                list(map(str, arguments)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=together(dict(os.environ), standing_still(NOW)))

    @staticmethod
    def _address(number: int, path: Path) -> None:
        """Addresses the frames of a capture to the modelled port."""
        records = capture.read(path)
        own = nic.mac(number)
        capture.write(path, [own + one.octets[6:] if one.octets[:6] == PORT_MAC else one.octets for one in records])

    def _site(self, offload: str) -> str:
        site = deepcopy(self.case.site)
        for number, port in enumerate(site["port"]):
            port["device"] = f"0000:81:00.{number}"
        for tunnel in site.get("tunnel", []):
            tunnel["offload"] = offload
        site["dpdk"] = {**site.get("dpdk", {}), "worker_cores": [cores()[-1]], "huge_pages": True}
        site["neighbor"] = site.get("neighbor", []) + self._neighbors(site)
        gateway = {"name": "scenario", "state_directory": str(self.directory / "state"),
                   "control_socket": str(self.directory / "control.sock"), **site.pop("gateway", {})}
        return toml({"gateway": gateway, **site})

    def _neighbors(self, site: dict) -> list[dict]:
        """Everybody whom the scenario names and who is on a link: nobody answers here."""
        named = {entry["via"] for entry in site.get("route", [])}
        named |= {tunnel["remote_address"] for tunnel in site.get("tunnel", [])}
        named |= {value for value in self.case.names.values() if isinstance(value, str) and ADDRESS.match(value)}
        for path in self._inputs.values():
            for record in capture.read(path):
                named |= _addresses(record.packet)
        known = {entry["address"] for entry in site.get("neighbor", [])}
        found = []
        for port in site["port"]:
            links = [ipaddress.ip_interface(text) for text in port.get("addresses", [])]
            for text in sorted(named - known):
                try:
                    address = ipaddress.ip_address(text)
                except ValueError:
                    continue
                usable = not (address.is_multicast or address.is_unspecified or address.is_link_local)
                if usable and any(address in link.network and address != link.ip
                                  and address not in (link.network.broadcast_address, link.network.network_address)
                                  for link in links):
                    found.append({"port": port["name"], "address": text, "mac": HOST_MAC.hex(":")})
        return found

    def finish(self) -> Outcome:
        """Lets the frames in, one port after the other, and ends the run when all of them have been dealt with."""
        try:
            wait_until(lambda: " runs: workers on core(s)" in self.log.read_text() or self.process.poll() is not None,
                       lambda: self._story("it does not start"), 60)
            assert self.process.poll() is None, self._story("it ended")
            control = Control(self.directory / "control.sock")
            for number, port in enumerate(self.ports):
                if port in self._inputs:
                    self._let_in(control, number, len(capture.read(self._inputs[port])))
            self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(30)
        finally:
            self.close()
        model = json.loads((self.directory / "model.json").read_text())
        # Where the site lets something through in clear the judge has to say so.
        assert code == (76 if model["violations"] else 0), self._story(f"exit code {code}")
        report = json.loads((self.directory / "report.json").read_text())
        assert_conserved(report)
        out = {port: [frame.octets for frame in capture.read(self.directory / f"out-{port}.pcap")] for port in self.ports}
        return Outcome(report, out, model)

    def close(self) -> None:
        if self.process.poll() is None:
            # The model passes it on, and tidies up when the gateway has ended.
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def _let_in(self, control: Control, number: int, count: int) -> None:
        """No more at once than the NIC's queues hold: a worker is faster than a NIC in software."""
        before = self._stats()[number]["rx_frames"]
        for left in range(count - AT_ONCE, -AT_ONCE, -AT_ONCE):
            self._tell("release", number, AT_ONCE)
            self._settle(control, number, before, max(0, left))

    def _settle(self, control: Control, number: int, before: int, left: int) -> None:
        """Until the wire has no more than so many, the gateway has had what the NIC took, and nothing moves."""
        last, since, start = None, time.monotonic(), time.monotonic()
        while True:
            nic_port, report = self._stats()[number], control.get("report")
            # What is held for a while is not seen in the report at once: it is what is missing from the sum.
            went = report["tx_packets"] + report["consumed_packets"] + report["dropped_packets"]
            now = (report["rx_packets"] + report["originated_packets"], went)
            if now != last:
                last, since = now, time.monotonic()
            taken = nic_port["rx_frames"] - before
            if (nic_port["wire_waiting"] <= left and report["ports"][self.ports[number]]["rx_packets"] >= taken
                    and now[0] == now[1] and time.monotonic() - since > 0.05):
                return
            assert time.monotonic() < start + 60, self._story(f"{self.ports[number]}: {now}, the NIC took {taken} frames")
            time.sleep(0.01)

    def _stats(self) -> list[dict]:
        return json.loads(self._tell("stats"))["ports"]

    def _tell(self, *words) -> str:
        done = subprocess.run([nic.MODEL, "tell", "--control", self._model, *map(str, words)], capture_output=True,
                              text=True, timeout=20)
        assert done.returncode == 0, self._story(done.stdout + done.stderr)
        return done.stdout

    def _story(self, what: str) -> str:
        return f"{self.case.title}: {what}\n{self.directory}\n{self.log.read_text()[-3000:]}"


def _addresses(packet: bytes) -> set[str]:
    """Both of an IP packet."""
    if packet[:1] and packet[0] >> 4 == 4 and len(packet) >= 20:
        return {str(ipaddress.ip_address(packet[at : at + 4])) for at in (12, 16)}
    if packet[:1] and packet[0] >> 4 == 6 and len(packet) >= 40:
        return {str(ipaddress.ip_address(packet[at : at + 16])) for at in (8, 24)}
    return set()
