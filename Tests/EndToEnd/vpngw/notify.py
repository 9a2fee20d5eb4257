"""A service manager for tests: the socket of sd_notify(3), and what was said on it."""

from __future__ import annotations

import re
import socket
import threading
import time

from vpngw.network import wait_until


class Manager:
    """Listens at `address`: a path, or "@" and a name. Such a name is one network namespace's: `opened` is a socket there."""

    def __init__(self, address: str, opened: socket.socket | None = None):
        self.address = address
        self._socket = opened or socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._said: list[tuple[float, str]] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address}

    def said(self) -> list[str]:
        """Every datagram so far."""
        with self._lock:
            return [text for _, text in self._said]

    def times(self, text: str) -> list[float]:
        """When exactly `text` came."""
        with self._lock:
            return [at for at, said in self._said if said == text]

    def wait_for(self, pattern: str, seconds: float = 20) -> str:
        """The first datagram in which `pattern` is found."""
        def found() -> list[str]:
            return [text for text in self.said() if re.search(pattern, text)]
        wait_until(found, lambda: f"{pattern!r} among {self.said()}", seconds)
        return found()[0]

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _listen(self) -> None:
        while True:
            try:
                text = self._socket.recv(65536).decode()
            except OSError:
                return
            if not text:
                return
            with self._lock:
                self._said.append((time.monotonic(), text))
