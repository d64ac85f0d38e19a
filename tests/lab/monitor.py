"""A QEMU process's monitor: QMP over a unix socket."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .image.recipe import LabError


class Monitor:
    """One connection to one QEMU; it stays open, for the commands of a reset must follow each other fast."""

    def __init__(self, path: Path, timeout_s: float = 60, ended: Callable[[], str] = lambda: "") -> None:
        """`ended` tells what QEMU said last once it has ended, and nothing before."""
        self._path = path
        self._ended = ended
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        self._connect(timeout_s)
        self._lines = self._socket.makefile("rb")
        self._answer("greeting")
        self.qmp("qmp_capabilities")

    def _connect(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._socket.connect(str(self._path))
                return
            except OSError as error:
                if why := self._ended():
                    raise LabError(f"QEMU ended at once: {why}") from error
                if time.monotonic() > deadline:
                    raise LabError(f"QEMU's monitor {self._path} does not answer: {error}") from error
                time.sleep(0.05)

    def _answer(self, command: str) -> dict[str, Any]:
        while line := self._lines.readline():
            message: dict[str, Any] = json.loads(line)
            if "event" not in message:
                return message
        raise LabError(f"QEMU ended during {command} (monitor {self._path})")

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Run one QMP command and return what it returns."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        try:
            message = self._answer(command)
        except OSError as error:
            raise LabError(f"QEMU {command}: {error} (monitor {self._path})") from error
        if "error" in message:
            raise LabError(f"QEMU {command} {arguments}: {message['error']['desc']}")
        return message["return"]

    def hmp(self, line: str) -> str:
        """Run one line of the human monitor; it prints nothing when all is well, so text is an error."""
        text: str = self.qmp("human-monitor-command", **{"command-line": line})
        if text.strip():
            raise LabError(f"QEMU {line}: {text.strip()}")
        return text

    def close(self) -> None:
        """End the connection; QEMU goes on."""
        self._lines.close()
        self._socket.close()
