"""docs/CONFORMANCE.md says what the scenarios and the catalogue of requirements say."""

from __future__ import annotations

import subprocess
import sys

from vpngw.gateway import ROOT


def test_the_document_is_not_stale() -> None:
    """scripts/conformance.py would write it as it is; it also fails for a catalogue that names what is not there."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "conformance.py", "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
