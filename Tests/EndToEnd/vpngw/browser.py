"""A headless Chromium, told what to do over the pipe of its debugging protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from vpngw.network import Network, wait_until


def missing() -> str | None:
    """Why there is no browser here; None where there is one."""
    return None if shutil.which("chromium") else "Chromium is not installed (chromium)"


class Browser:
    """One page in a browser of its own, in a namespace."""

    def __init__(self, network: Network, name: str, width: int = 1280, height: int = 900):
        asks, self._asks = os.pipe()
        self._answers, answers = os.pipe()
        os.set_inheritable(asks, True)
        os.set_inheritable(answers, True)
        self.log = network.directory / "chromium.log"
        # The protocol wants descriptors 3 and 4.
        command = network.command(
            name, "bash", "-c", f'exec chromium "$@" 3<&{asks} 4>&{answers}', "bash", "--headless=new", "--no-sandbox",
            "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe",
            f"--user-data-dir={network.directory / 'chromium'}", "about:blank")
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log.open("wb"), stderr=subprocess.STDOUT,
            pass_fds=(asks, answers), start_new_session=True)
        os.close(asks)
        os.close(answers)
        self._number, self._rest = 0, b""
        self.events: list[dict] = []
        targets = self._ask("Target.getTargets")["targetInfos"]
        page, = (target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.resize(width, height)

    def _ask(self, method: str, session: str | None = None, **parameters) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._asks, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                more = os.read(self._answers, 1 << 20)
                assert more, f"the browser is gone: {self.log.read_text()}"
                self._rest += more
            text, self._rest = self._rest.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def ask(self, method: str, **parameters) -> dict:
        return self._ask(method, self._session, **parameters)

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def open(self, url: str) -> None:
        self.ask("Page.navigate", url=url)

    def value(self, expression: str):
        """What an expression of the page's own language is."""
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def text(self) -> str:
        """What a reader sees; nothing while a page is on its way."""
        return self.value("document.body ? document.body.innerText : ''")

    def wait(self, condition: Callable[[], object], seconds: float = 30) -> None:
        wait_until(condition, lambda: f"{self.text()}\n{self.complaints()}", seconds)

    def complaints(self) -> list[str]:
        """What the page's console says is wrong: refused scripts, exceptions."""
        self.value("1")
        entries = [event["params"]["entry"] for event in self.events if event["method"] == "Log.entryAdded"]
        thrown = [event["params"] for event in self.events if event["method"] == "Runtime.exceptionThrown"]
        return [entry["text"] for entry in entries if entry["level"] == "error"] + [str(one) for one in thrown]

    def screenshot(self, path: Path) -> Path:
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))
        return path

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        os.close(self._asks)
        os.close(self._answers)
