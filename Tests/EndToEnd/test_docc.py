"""What the modules offer each other is documented without a warning."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from vpngw.gateway import ROOT


@pytest.mark.timeout(900)
def test_documentation_builds_without_warnings() -> None:
    swift = shutil.which("swift")
    if swift is None or not (Path(swift).resolve().parent / "docc").exists():
        pytest.skip("this Swift toolchain has no docc")
    done = subprocess.run([ROOT / "scripts/docc.sh"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = ROOT / ".build/docc/data/documentation"
    for module in ("wire", "ipsec", "esp", "dataplane", "sastore", "capture", "gateway"):
        assert (pages / f"{module}.json").exists()
