"""A site that is read again: applied whole or not at all, without touching what did not change."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal

import pytest

from vpngw.gateway import command
from vpngw.live import One, Sites, echo
from vpngw.network import wait_until


def sas(gateway) -> dict[str, dict]:
    return {row["spi"]: row for row in gateway.control.get("sa")["sas"]}


def test_unchanged_sas_go_on_when_policies_routes_and_names_change(sites: Sites):
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 29)
    before = sas(sites.a)
    assert before["0x00001001"]["packets"] == before["0x00002001"]["packets"] == 30
    site = sites.site_a
    site.tunnels[0].name = "renamed"
    site.routes.append(("203.0.113.0/24", "192.0.2.77"))
    site.policies.append({"action": "discard", "direction": "outbound", "destination": "203.0.113.0/24"})
    path = site.write()
    said = command("reload", "--config", path)
    assert said.code == 0, said.stderr
    assert "1 unchanged, 0 installed, 0 removed" in said.stdout
    after = sas(sites.a)
    assert {spi: row["tunnel"] for spi, row in after.items()} == dict.fromkeys(before, "renamed")
    for spi, row in after.items():
        for field in ("packets", "octets", "sequence_number", "installed_at", "key_fingerprint"):
            assert row[field] == before[spi][field]
    assert [row["destination"] for row in sites.a.control.get("routes")["routes"]].count("203.0.113.0/24") == 1
    echo(sites.network, "host-a", "10.0.2.10", 30, 59)
    assert sas(sites.a)["0x00001001"]["sequence_number"] == 60
    # By signal, back again.
    site.tunnels[0].name, site.routes, site.policies = "b", [], []
    site.write()
    sites.a.process.send_signal(signal.SIGHUP)
    wait_until(lambda: {row["tunnel"] for row in sas(sites.a).values()} == {"b"}, "SIGHUP reloads")
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)
    report, _ = sites.stop()
    assert report["drops"] == {}
    log = command("state", "log", "--config", path)
    assert "SIGHUP" in log.stdout and "reload" in log.stdout and "uid 0 (root)" in log.stdout


def test_a_refused_file_changes_nothing_and_is_told_whole(sites: Sites):
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)
    path = sites.site_a.write()
    good, before = path.read_text(), sas(sites.a)
    path.write_text(good.replace("spi = 0x1001", "spi = 255").replace('role = "protected"', 'role = "inner"'))
    said = command("reload", "--config", path, "--socket", str(path.with_suffix(".sock")))
    assert said.code == 78
    assert "SPI 255 is reserved" in said.stderr and "inner" in said.stderr and f"{path}:" in said.stderr
    assert "reload refused, nothing was changed" in sites.a.log.read_text()
    # What only a restart can change is named, and nothing else of the file is done either.
    cores = sites.site_a.worker_cores
    for old, new, words in (
            (f"worker_cores = {cores}", f"worker_cores = {[cores[0] + 64]}", "dpdk.worker_cores"),
            ("mtu_octets = 1500", "mtu_octets = 1400", "mtu_octets of port lan"),
            ("iface=lan", "iface=other", "the device of port lan"),
            ('name = "lan"', 'name = "inner"', "the list of ports")):
        path.write_text(good.replace(old, new).replace('name = "b"', 'name = "c"'))
        said = command("reload", "--socket", str(path.with_suffix(".sock")))
        assert said.code == 78 and words in said.stderr and "that takes a restart" in said.stderr, said.stderr
    assert sas(sites.a) == before
    echo(sites.network, "host-a", "10.0.2.10", 10, 19)
    path.write_text(good)
    sites.stop()


def test_tunnels_come_and_go(sites: Sites):
    sites.start()
    site = sites.site_a
    spare = dataclasses.replace(
        site.tunnels[0], name="c", remote_address="192.0.2.9", remote_subnets=["10.0.9.0/24"], outbound_spi=0x1009,
        inbound_spi=0x2009, outbound_key=os.urandom(20), inbound_key=os.urandom(20))
    site.tunnels.append(spare)
    assert command("reload", "--config", site.write()).code == 0
    assert set(sas(sites.a)) == {"0x00001001", "0x00002001", "0x00001009", "0x00002009"}
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)
    taken, site.tunnels = site.tunnels[0], [spare]
    assert command("reload", "--config", site.write()).code == 0
    assert set(sas(sites.a)) == {"0x00001009", "0x00002009"}
    sites.network.run("host-a", "ping", "-c", "2", "-W", "1", "10.0.2.10", check=False)
    site.tunnels = [taken]
    assert command("reload", "--config", site.write()).code == 0
    # The SA is the one it was: its numbers go on behind those that were reserved.
    wait_until(lambda: sas(sites.a)["0x00001001"]["sequence_number"] >= 0x40000, "numbers go on")
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)
    report, _ = sites.stop()
    assert report["drops"]["no_policy"] == 2


def test_keys_by_hand_and_what_is_refused(sites: Sites):
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)
    directory = sites.site_a.directory
    assert command("keygen", "--near", "a", "--far", "b", "--directory", directory / "keys").code == 0
    sockets = {"a": sites.a.site.with_suffix(".sock"), "b": sites.b.site.with_suffix(".sock")}

    def sa(end: str, *arguments) -> object:
        return command("sa", *arguments, "--socket", sockets[end])

    for end, other, spis in (("a", "b", ("0x5001", "0x6001")), ("b", "a", ("0x6001", "0x5001"))):
        keys = directory / "keys" / end
        arguments = ["add", "--tunnel", other, "--outbound-spi", spis[0], "--outbound-key-file",
                     keys / f"{other}-out.key", "--inbound-spi", spis[1], "--inbound-key-file", keys / f"{other}-in.key"]
        said = sa(end, *arguments)
        assert said.code == 0, said.stderr
        assert sa(end, *arguments).code == 78  # the same SPIs and keys again
    assert sas(sites.a)["0x00005001"]["state"] == "standby"
    echo(sites.network, "host-a", "10.0.2.10", 10, 19)
    assert sas(sites.a)["0x00005001"]["packets"] == 0
    assert sa("a", "activate", "--tunnel", "b", "--spi", "0x5001").code == 0
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)
    now = sas(sites.a)
    assert (now["0x00005001"]["state"], now["0x00005001"]["packets"]) == ("current", 10)
    assert (now["0x00001001"]["state"], now["0x00001001"]["packets"]) == ("old", 20)
    # The one that is sent under stays; unknown names get the nearest.
    said = sa("a", "remove", "--tunnel", "b", "--spi", "0x5001")
    assert said.code == 78 and "activate another first" in said.stderr
    assert "it has" in sa("a", "remove", "--tunnel", "b", "--spi", "0x7777").stderr
    assert "there is no tunnel" in sa("a", "activate", "--tunnel", "z", "--spi", "0x5001").stderr
    assert sa("a", "remove", "--tunnel", "b", "--spi", "0x1001").code == 0
    assert "0x00001001" not in sas(sites.a)
    # A reload keeps what was added by hand and brings back what the file names.
    assert command("reload", "--config", sites.a.site).code == 0
    now = sas(sites.a)
    assert now["0x00005001"]["state"] == "current" and now["0x00005001"]["origin"] == "runtime"
    assert "0x00001001" in now
    key = (directory / "keys" / "a" / "b-out.key").read_text().strip()[2:]
    for text in (sites.a.log.read_text(), json.dumps(now), command("state", "log", "--config", sites.a.site).stdout):
        assert key not in text and key[:32] not in text
    (directory / "keys" / "a" / "b-out.key").chmod(0o644)
    said = sa("a", "add", "--tunnel", "b", "--outbound-spi", "0x5002", "--outbound-key-file",
              directory / "keys" / "a" / "b-out.key", "--inbound-spi", "0x6002", "--inbound-key-file",
              directory / "keys" / "a" / "b-in.key")
    assert said.code != 0 and "chmod 600" in said.stderr
    sites.stop()


def test_control_without_a_gateway_is_69(one: One):
    for arguments in (["show", "sa"], ["reload"], ["sa", "activate", "--tunnel", "b", "--spi", "0x1001"]):
        said = command(*arguments, "--socket", one.site.directory / "absent.sock")
        assert said.code == 69 and "absent.sock" in said.stderr


def test_no_core_dump_holds_memory(one: One):
    """The kernel writes no core of a gateway that runs, even where it is told to; of another process it does."""
    pattern = open("/proc/sys/kernel/core_pattern").read().strip()
    if pattern.startswith("|"):
        pytest.skip(f"cores go to a program here ({pattern}), which the kernel does not tell of")

    def dumped(process) -> bool:
        process.send_signal(signal.SIGSEGV)
        return os.WCOREDUMP(os.waitpid(process.pid, 0)[1])

    shell = ["sh", "-c", f"cd {one.site.directory}; ulimit -c unlimited; exec \"$@\"", "sh"]
    plain = one.network.start("gw", *shell, "sleep", "100", log=one.site.directory / "sleep.log")
    wait_until(lambda: open(f"/proc/{plain.pid}/comm").read() == "sleep\n", "sleep runs")
    if not dumped(plain):
        pytest.skip("the kernel writes no core dumps here")
    gateway = one.run().wait_running()
    resource.prlimit(gateway.process.pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert not dumped(gateway.process)
