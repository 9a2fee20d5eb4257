"""What the program says of itself and of machines, and that the files which ship beside it are right."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vpngw.documents import command_lines, documents, problem
from vpngw.gateway import BINARY, ROOT, command
from vpngw.site import Port, Site, Tunnel

needs = {tool: pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")
         for tool in ("man", "promtool", "systemd-analyze", "bash", "zsh", "fish")}
UNIT = ROOT / "configs/systemd/vpn-gw.service"


def test_the_version() -> None:
    result = command("--version")
    assert result.code == 0 and re.fullmatch(r"\d+\.\d+\.\d+(-[a-z]+)?\n", result.stdout)


def test_doctor_looks_at_any_machine() -> None:
    text, table = command("doctor"), command("doctor", "--json")
    findings = json.loads(table.stdout)["findings"]
    subjects = [row["subject"] for row in findings]
    for subject in ("processor", "clock", "hugepages", "dpdk", "libipsec-mb", "iommu", "state directory"):
        assert subject in subjects
    fails = [row for row in findings if row["level"] == "fail"]
    assert text.code == table.code == (69 if fails else 0)
    assert text.stdout.splitlines()[-1].endswith(f"{len(fails)} to mend")


def test_doctor_refuses_a_site_that_is_wrong(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    assert command("doctor", "--config", site).code == 66
    site.write_text("[gateway]\ncolour = 1\n")
    result = command("doctor", "--config", site)
    assert result.code == 78 and "colour" in result.stderr


def test_a_processor_that_is_too_old_is_told_so(tmp_path: Path) -> None:
    """Before anything else runs: with another /proc/cpuinfo in front of the kernel's."""
    if os.geteuid() != 0:
        pytest.skip("a mount needs root")
    fake = tmp_path / "cpuinfo"
    real = Path("/proc/cpuinfo").read_text()
    fake.write_text(re.sub(r"^(flags\t*:.*) avx2\b", r"\1", real, flags=re.M))
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'mount --bind "{fake}" /proc/cpuinfo && exec "{BINARY}" --version'],
        capture_output=True, text=True)
    if "mount" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    assert done.returncode == 69, done
    assert done.stdout == "" and "lacks avx2: vpn-gw is built for x86-64-v3" in done.stderr


@needs["man"]
@pytest.mark.parametrize("page", ["vpn-gw.1", "vpn-gw-site.5"])
def test_manual_pages_have_no_warnings(page: str, tmp_path: Path) -> None:
    source = tmp_path / page
    source.write_text(command("manual", page).stdout)
    done = subprocess.run(
        ["man", "--warnings", "--local-file", str(source)], capture_output=True, text=True,
        env=os.environ | {"MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0 and done.stderr == ""
    text = re.sub(r".\x08", "", done.stdout)
    for word in {"vpn-gw.1": ["--log-format", "vpn-gw sa add", "EXIT STATUS", "doctor"],
                 "vpn-gw-site.5": ["[[tunnel.child]]", "mtu_octets", "required"]}[page]:
        assert word in text
    assert "vpn-gw manual" not in text


@pytest.mark.parametrize("shell", [pytest.param(name, marks=needs[name]) for name in ("bash", "zsh", "fish")])
def test_completions_are_the_shells(shell: str) -> None:
    result = command("--generate-completion-script", shell)
    assert result.code == 0 and "doctor" in result.stdout
    done = subprocess.run([shell, "-n"], input=result.stdout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs["promtool"]
def test_prometheus_takes_the_rules() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint-fatal", ROOT / "configs/prometheus/vpn-gw.rules.yml"],
        capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout


@needs["systemd-analyze"]
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    # The program is not where the package puts it.
    unit = tmp_path / "vpn-gw.service"
    unit.write_text(re.sub(r"^Documentation=.*\n", "", UNIT.read_text().replace("/usr/bin/vpn-gw", str(BINARY)), flags=re.M))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "vpn-gw" in line]
    assert done.returncode == 0 and not said, done.stderr
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=30", unit], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_unit_explains_what_it_leaves_open() -> None:
    text = UNIT.read_text()
    for open_door in ("PrivateDevices", "PrivateUsers", "PrivateNetwork", "ProcSubset", "RestrictRealtime", "ProtectClock"):
        assert re.search(rf"^# Not .*{open_door}", text, re.M) and not re.search(rf"^{open_door}=", text, re.M)


# Guides.

GUIDE = ROOT / "docs/guides/site-to-site.md"


def blocks(path: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", path.read_text(), re.M | re.S)


def test_the_guides_commands_do_what_they_say(tmp_path: Path) -> None:
    """The blocks that are marked for it, in their order, at both ends."""
    sites = {re.match(r"# (\S+)\n", text)[1]: text for text in blocks(GUIDE, "toml")}
    assert set(sites) == {"site-a", "site-b"}
    commands = [line for text in blocks(GUIDE, "sh test") for line in text.splitlines()]
    assert len(commands) == 4
    path = f"{BINARY.parent}:{os.environ['PATH']}"

    def run(line: str, where: Path) -> str:
        done = subprocess.run(["sh", "-c", line], cwd=where, capture_output=True, text=True, env=os.environ | {"PATH": path})
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    run(commands[0], tmp_path)
    keys = {}
    for name, text in sites.items():
        end = tmp_path / name
        end.mkdir()
        (end / "site.toml").write_text(text)
        shutil.copytree(tmp_path / "keys" / name, end / "keys")
        keys[name] = [path.read_text().strip() for path in sorted((end / "keys").iterdir())]
        assert "inner MTU" in run(commands[1], end)
    for line in commands[2:]:
        text = run(line, tmp_path / "site-a")
        assert "192.0.2.2" in text and not any(key[2:] in text for key in keys["site-a"])
    # Both ends' outbound is the other's inbound.
    assert keys["site-a"] == keys["site-b"][::-1]


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_commands_and_links_of_documents_are_there(document: Path) -> None:
    text = document.read_text()
    wrong = [f"{line}: {why}" for line in command_lines(text) if (why := problem(line))]
    assert not wrong, "\n".join(wrong)
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (document.parent / link).exists(), link


def test_documents_have_the_commands_that_are_looked_for() -> None:
    """That the looking finds them: a document whose form is not understood has none."""
    counts = {path.name: len(command_lines(path.read_text())) for path in documents()}
    for name, least in {"README.md": 20, "site-to-site.md": 14, "troubleshooting.md": 20, "OFFLOAD.md": 6, "tuning.md": 5,
                        "PERFORMANCE.md": 6, "HARDWARE.md": 1, "CONTROL.md": 20, "STATE.md": 8, "IXGBE-MODEL.md": 1}.items():
        assert counts[name] >= least, f"{name}: {counts[name]} commands were found"


@pytest.mark.parametrize(("line", "why"), [
    ("vpn-gw shwo sa", "no verb shwo"), ("vpn-gw show sas", "show knows no sas"), ("vpn-gw state adpot --config a", "no verb adpot"),
    ("vpn-gw state show|lgo --config a", "no verb lgo"), ("sudo vpn-gw --conf site.toml", "run has no option --conf"),
    ("cd / && vpn-gw top --colour", "top has no option --colour"), ("true; vpn-gw caps wan", "caps takes no wan"),
    ("vpn-gw check --config", "--config lacks its value"), ("vpn-gw check", "check lacks"),
    ("ixgbe-model run -- vpn-gw --config a --reprot b", "no option --reprot"),
    ("vpn-gw sa add --tunnel b \\\n  --outbound-spy 1", "no option --outbound-spy"), ("vpn-gw show sa --json=1", "--json takes no value"),
    ("vpn-gw export linux|vpp --tunel b --config a", "no option --tunel"), ("vpn-gw top     # all of it", None),
    ("vpn-gw show offload        each SA", None), ("install -o vpn-gw -g vpn-gw a b", None), ("vpn-gw show sa | less", None),
    ("vpn-gw keygen --near a --far b 2>/dev/null", None)])
def test_a_command_that_is_none_is_told(line: str, why: str | None) -> None:
    texts = [f"```sh\n{line}\n```\n"]
    # A mention has one line, nothing behind it, and may be incomplete.
    if "lacks" not in (why or "") and not re.search(r" {3}|\n", line):
        texts.append(f"Say `{line}`, so.\n")
    for text in texts:
        said = [problem(one) for one in command_lines(text)]
        assert (why in said[0] if why else said in ([None], [])), (text, said)


# Export.


def export_site(directory: Path) -> tuple[Path, Tunnel]:
    tunnel = Tunnel("b", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], ["10.0.2.0/24"], 0x1001, 0x2001)
    ports = [
        Port("lan", "protected", ["10.0.1.1/24"]), Port("wan", "unprotected", ["192.0.2.1/24"], "net_null1")]
    return Site("a", directory, ports, [tunnel]).write(), tunnel


@pytest.mark.parametrize("kind", ["linux", "vpp"])
def test_keys_are_exported_when_they_are_asked_for_and_only_then(kind: str, tmp_path: Path) -> None:
    site, tunnel = export_site(tmp_path)
    plain = command("export", kind, "--config", site, "--tunnel", "b")
    assert plain.code == 0 and plain.stderr == ""
    whole = command("export", kind, "--config", site, "--tunnel", "b", "--with-keys")
    for key in (tunnel.outbound_key, tunnel.inbound_key):
        assert key[:16].hex() not in plain.stdout and key[:16].hex() in whole.stdout
        assert key[16:].hex() in whole.stdout
    assert "0600" in whole.stdout
    wrong = command("export", kind, "--config", site, "--tunnel", "c")
    assert wrong.code == 78 and "there is no tunnel" in wrong.stderr
    assert command("export", "cisco", "--config", site, "--tunnel", "b").code == 64


def test_the_kernel_here_takes_what_is_exported(tmp_path: Path) -> None:
    """The script as it is, in a network namespace of its own; what the kernel then has is the tunnel."""
    site, tunnel = export_site(tmp_path)
    script = tmp_path / "peer.sh"
    script.write_text(command("export", "linux", "--config", site, "--tunnel", "b", "--with-keys").stdout)
    setup = "ip link add eth0 type veth peer name other; ip link set eth0 up; ip address add 192.0.2.2/24 dev eth0; "
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", f"{setup} sh {script} && ip xfrm state && ip xfrm policy && ip route"],
        capture_output=True, text=True)
    if "unshare" in done.stderr or "xfrm" in done.stderr and "support" in done.stderr:
        pytest.skip(f"no namespaces or no IPsec in this kernel: {done.stderr.strip().splitlines()[0]}")
    if any(words in done.stderr for words in ("RTNETLINK answers: ", "Cannot", "algorithm not found")):
        pytest.skip(f"this kernel does not take SAs: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    assert "src 192.0.2.1 dst 192.0.2.2" in done.stdout and tunnel.outbound_key.hex() in done.stdout
    assert "10.0.1.0/24 via 192.0.2.1" in done.stdout
