"""Asks a running gateway over its control socket, without starting a program for each question."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path


class Control:
    """The control socket of one gateway."""

    def __init__(self, path: Path):
        self.path = path

    def get(self, subject: str) -> dict:
        """`GET /v1/SUBJECT`, which must succeed."""
        status, answer = self._ask("GET", f"/v1/{subject}", None)
        assert status == 200, answer
        return answer

    def post(self, action: str, body: dict | None = None) -> list[str]:
        """`POST /v1/ACTION`, which must succeed; its messages."""
        code, messages = self.try_post(action, body)
        assert code == 0, messages
        return messages

    def try_post(self, action: str, body: dict | None = None) -> tuple[int, list[str]]:
        """`POST /v1/ACTION`; the exit code that the command would have, and its messages."""
        _, answer = self._ask("POST", f"/v1/{action}", json.dumps(body) if body else None)
        assert "exit_code" in answer, answer
        return answer["exit_code"], answer["messages"]

    def _ask(self, method: str, path: str, body: str | None) -> tuple[int, dict]:
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(30)
        try:
            connection.sock.connect(str(self.path))
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()
