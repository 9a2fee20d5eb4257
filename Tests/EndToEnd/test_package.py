"""The Debian package, installed, used and removed in a root of its own: this machine's files under an overlay that goes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vpngw.gateway import ROOT
from vpngw.machine import ENTER, package


@pytest.fixture
def inside(tmp_path: Path) -> Callable[[str], str]:
    """Runs a script in the root, the package at /tmp/package.deb."""
    if package() is None:
        pytest.skip("there is no package (make deb)")
    if os.geteuid() != 0:
        pytest.skip("a root of its own needs root")

    def run(script: str) -> str:
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh", str(tmp_path), str(package()), script],
            capture_output=True, text=True, timeout=200, stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"})
        if "mount:" in done.stderr or "unshare:" in done.stderr:
            pytest.skip(f"no overlay here: {done.stderr.strip().splitlines()[0]}")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_installed_used_and_removed(inside: Callable[[str], str]) -> None:
    said = inside(r"""
        set -e
        dpkg --install --force-depends /tmp/package.deb >/tmp/log 2>&1 || { cat /tmp/log >&2; exit 1; }
        cd /tmp
        echo "version $(vpn-gw --version)"
        stat -c 'mode %a %U %G %n' /var/lib/vpn-gw /etc/vpn-gw /etc/vpn-gw/keys
        ldd /usr/bin/vpn-gw | grep -i swift && echo "needs a Swift runtime" || true
        for site in /usr/share/doc/vpn-gw/examples/*.toml; do
            zcat -f "$site" > site.toml
            vpn-gw check --config site.toml >/dev/null && echo "checked $(basename "$site")"
        done
        vpn-gw keygen --near site-a --far site-b >/dev/null && echo "keys made"
        man -w vpn-gw vpn-gw-site | sed 's/^/manual /'
        bash -c '. /usr/share/bash-completion/completions/vpn-gw && complete -p vpn-gw' | sed 's/^/completes /'
        setpriv --reuid=vpn-gw --regid=vpn-gw --clear-groups vpn-gw doctor | sed -n 's/^\(ok\|warn\|fail\) /doctor &/p'
        systemd-analyze verify --man=no /lib/systemd/system/vpn-gw.service 2>&1 | sed -n 's/^.*vpn-gw/unit &/p'
        dpkg --purge vpn-gw 2>&1 | sed 's/^/purge /'
        for left in /usr/bin/vpn-gw /lib/systemd/system/vpn-gw.service /usr/share/doc/vpn-gw /etc/vpn-gw /var/lib/vpn-gw; do
            if test -e "$left"; then echo "left $left"; fi
        done
        """)
    lines = said.splitlines()
    assert re.search(r"^version \d+\.\d+\.\d+", said, re.M)
    for line in ("mode 700 vpn-gw vpn-gw /var/lib/vpn-gw", "mode 750 root vpn-gw /etc/vpn-gw",
                 "mode 700 vpn-gw vpn-gw /etc/vpn-gw/keys", "keys made",
                 "manual /usr/share/man/man1/vpn-gw.1.gz", "manual /usr/share/man/man5/vpn-gw-site.5.gz"):
        assert line in lines, said
    assert "needs a Swift runtime" not in lines
    assert sorted(line.split()[1] for line in lines if line.startswith("checked ")) == sorted(
        path.name for path in (ROOT / "configs").glob("*.toml"))
    assert [line for line in lines if line.startswith("completes complete ")], said
    assert "doctor ok    processor" in said and "doctor ok    state directory" in said, said
    assert not [line for line in lines if line.startswith("unit ")], said
    assert not [line for line in lines if line.startswith("left ")], said


def test_keys_and_state_survive_a_purge(inside: Callable[[str], str]) -> None:
    said = inside(r"""
        set -e
        dpkg --install --force-depends /tmp/package.deb >/tmp/log 2>&1 || { cat /tmp/log >&2; exit 1; }
        touch /var/lib/vpn-gw/keys-seen /etc/vpn-gw/keys/out.key
        dpkg --purge vpn-gw 2>&1
        ls /var/lib/vpn-gw /etc/vpn-gw/keys
        """)
    assert "keys-seen" in said and "out.key" in said and said.count("its keys must not be used again") == 2


def test_a_capture_goes_through_the_installed_program(inside: Callable[[str], str]) -> None:
    said = inside(r"""
        set -e
        dpkg --install --force-depends /tmp/package.deb >/tmp/log 2>&1 || { cat /tmp/log >&2; exit 1; }
        cd /tmp
        zcat -f /usr/share/doc/vpn-gw/examples/capture.toml > site.toml
        chmod 600 site.toml
        # An empty capture file: a header of 24 octets, Ethernet.
        printf '\324\303\262\241\002\000\004\000\000\000\000\000\000\000\000\000\377\377\000\000\001\000\000\000' > in.pcap
        port=lan
        vpn-gw pcap --config site.toml --in "$port=in.pcap" --out "$port=out.pcap" --report report.json 2>/dev/null
        cat report.json
        """)
    assert '"rx_packets"' in said


@pytest.mark.long
@pytest.mark.timeout(900)
def test_its_dependencies_are_enough(tmp_path: Path) -> None:
    """A Debian of nothing but its essential packages, and what the package asks for."""
    if package() is None:
        pytest.skip("there is no package (make deb)")
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("a new Debian takes root and debootstrap")
    root = tmp_path / "root"
    done = subprocess.run(["debootstrap", "--variant=minbase", "bookworm", root], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no Debian to be had: {(done.stdout + done.stderr).strip().splitlines()[-1]}")
    shutil.copy(package(), root / "tmp/package.deb")
    for name in ("resolv.conf", "apt/sources.list"):
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name).resolve(), root / "etc" / name)
    for name in Path("/etc/apt/apt.conf.d").glob("*proxy*"):
        shutil.copy(name, root / "etc/apt/apt.conf.d" / name.name)
    script = r"""
        set -e
        mount --bind /proc "$1/proc"; mount --bind /sys "$1/sys"; mount --bind /dev "$1/dev"
        exec chroot "$1" sh -c "
            set -e
            apt-get update -qq
            apt-get install -qq -y --no-install-recommends /tmp/package.deb >/tmp/log 2>&1 || { cat /tmp/log >&2; exit 1; }
            vpn-gw doctor || test \$? = 69
            stat -c 'mode %a %U' /var/lib/vpn-gw
            cp /usr/share/doc/vpn-gw/examples/capture.toml /tmp/site.toml; chmod 600 /tmp/site.toml; cd /tmp
            printf '\\324\\303\\262\\241\\002\\000\\004\\000\\000\\000\\000\\000\\000\\000\\000\\000\\377\\377\\000\\000\\001\\000\\000\\000' > in.pcap
            vpn-gw pcap --config site.toml --in lan=in.pcap --out wan=out.pcap --report /dev/stdout
            apt-get purge -qq -y vpn-gw >/dev/null
            test ! -e /usr/bin/vpn-gw
        "
        """
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(root)], capture_output=True,
        text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mode 700 vpn-gw" in done.stdout
    assert '"rx_packets"' in done.stdout
    assert re.search(r"^ok +drivers ", done.stdout, re.M) and re.search(r"^ok +libipsec-mb ", done.stdout, re.M)
