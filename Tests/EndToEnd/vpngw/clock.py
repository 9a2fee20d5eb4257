"""A wall clock that lies to a program (clock/wallclock.c): what to add to its environment."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

_SOURCE = Path(__file__).resolve().parents[1] / "clock" / "wallclock.c"


@functools.cache
def _library() -> Path:
    """Compiled once for the process."""
    path = Path(tempfile.mkdtemp(prefix="wallclock-")) / "wallclock.so"
    subprocess.run(["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared", "-o", path, _SOURCE,
                    "-ldl"], check=True)
    return path


def standing_still(seconds: int) -> dict[str, str]:
    """It is `seconds` since 1970, and stays so."""
    return {"LD_PRELOAD": str(_library()), "WALLCLOCK_SECONDS": str(seconds)}


def wrong_by(seconds: int) -> dict[str, str]:
    """It is so many seconds later than it is; negative: earlier."""
    return {"LD_PRELOAD": str(_library()), "WALLCLOCK_OFFSET_SECONDS": str(seconds)}


def together(*environments: dict[str, str]) -> dict[str, str]:
    """Several environments in one, all of their libraries loaded."""
    joined: dict[str, str] = {}
    for environment in environments:
        preload = [joined.get("LD_PRELOAD"), environment.get("LD_PRELOAD")]
        joined |= environment
        if all(preload):
            joined["LD_PRELOAD"] = ":".join(preload)
    return joined
