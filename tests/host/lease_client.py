"""A worker's end of the leases' socket, as plain as it can be."""
import json
import socket
from pathlib import Path
from typing import Any


class LeaseClient:
    def __init__(self, path: Path, timeout: float = 20.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile('rb')

    def __enter__(self) -> 'LeaseClient':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def ask(self, server: str, key: str | None = None) -> None:
        self.send(json.dumps({'server': server, 'key': key}).encode() + b'\n')

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> dict[str, Any]:
        """The next line; empty when the host has closed the connection."""
        line = self._lines.readline()
        return json.loads(line) if line else {}

    def final_answer(self) -> dict[str, Any]:
        """The grant or the refusal: news of loading are skipped."""
        while (answer := self.answer()).get('loading'):
            pass
        return answer

    def acquire(self, server: str, key: str | None = None) -> dict[str, Any]:
        self.ask(server, key)
        return self.final_answer()

    def release(self) -> None:
        self.send(b'\n')

    def close(self) -> None:
        self._lines.close()
        self._socket.close()
