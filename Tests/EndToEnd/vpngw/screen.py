"""A terminal of 80 columns and 24 rows, played by tmux."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from vpngw.network import wait_until

SHELL = "env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=screen PS1='prompt$ ' sh"


def missing() -> str | None:
    """Why there is no terminal here; None where there is one."""
    return None if shutil.which("tmux") else "tmux is not installed"


class Screen:
    """A terminal with a shell in it, by a tmux server of its own. `inside` goes in front of the shell (nsenter)."""

    def __init__(self, directory: Path, inside: str = ""):
        self._socket = directory / "tmux"
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", f"{inside} {SHELL}".strip())
        self.wait("prompt$")

    def _tmux(self, *arguments: str) -> str:
        environment = {key: value for key, value in os.environ.items() if key != "TMUX"} | {"LC_ALL": "C.UTF-8"}
        return subprocess.run(
            ["tmux", "-S", self._socket, *arguments], capture_output=True, text=True, check=True, env=environment).stdout

    def type(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def run(self, line: str) -> None:
        self._tmux("send-keys", "-l", line)
        self.type("Enter")

    def lines(self, escapes: bool = False) -> list[str]:
        return self._tmux("capture-pane", "-p", *(["-e"] if escapes else [])).splitlines()

    def text(self) -> str:
        return "\n".join(self.lines())

    def state(self, name: str) -> str:
        """A variable of tmux's: whether the alternate screen is on, the cursor shown."""
        return self._tmux("display-message", "-p", f"#{{{name}}}").strip()

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def wait(self, text: str, seconds: float = 20) -> None:
        wait_until(lambda: text in self.text(), self.text, seconds)

    def close(self) -> None:
        self._tmux("kill-server")
