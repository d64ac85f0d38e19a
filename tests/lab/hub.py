"""The guests' network between the hosts, and the outside observer in it: one small process.

Each host's `lan` card is a port. A frame that comes in on one port goes out on the others, as in a
switch; a guest's report is also kept with its arrival time and the port it came in on. The process is
asked and told things over a unix socket, one JSON object a line.

Run as `python -m tests.lab.hub DIRECTORY xen1 xen2 ...`.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

PORT_REPORTS = 7000
PORT_REQUESTS = 7002
HEADER = 42


def report_in(frame: bytes) -> str | None:
    """The text of a guest's report, if the frame is one."""
    if len(frame) <= HEADER or frame[12:14] != b"\x08\x00" or frame[23] != 17 or frame[14] != 0x45:
        return None
    port, length = struct.unpack_from("!HH", frame, 36)
    return frame[HEADER : HEADER + length - 8].decode("ascii", "replace") if port == PORT_REPORTS else None


def request_frame(text: str) -> bytes:
    """A broadcast that the guests' agents listen for."""
    payload = text.encode()
    udp = struct.pack("!HHHH", PORT_REQUESTS, PORT_REQUESTS, 8 + len(payload), 0)
    ip = bytearray(
        struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0, b"\0" * 4, b"\xff" * 4)
    )
    total = sum(struct.unpack("!10H", ip))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", ip, 10, ~total & 0xFFFF)
    return b"\xff" * 6 + b"\x02\0\0\0\0\xfe" + b"\x08\x00" + bytes(ip) + udp + payload


class Hub:
    """The switch and what it has heard."""

    def __init__(self, directory: Path, hosts: list[str]) -> None:
        self.selector = selectors.DefaultSelector()
        self.directory = directory
        self.ports: dict[str, socket.socket] = {}
        self.cut: set[str] = set()
        self.lines: list[tuple[float, str, str]] = []
        self.running = True
        for name in hosts:
            port = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            path = directory / f"observer.{name}"
            path.unlink(missing_ok=True)
            port.bind(str(path))
            port.setblocking(False)
            self.ports[name] = port
            self.selector.register(port, selectors.EVENT_READ, name)
        control = directory / "observer.control"
        control.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(control))
        self.listener.listen(16)
        self.selector.register(self.listener, selectors.EVENT_READ, None)

    def loop(self) -> None:
        """Until told to stop."""
        while self.running:
            for key, _ in self.selector.select(timeout=5):
                if key.data is None:
                    self.serve()
                else:
                    self.receive(key.data)

    def receive(self, name: str) -> None:
        """Take what waits at one port; hand it to the others; keep the reports."""
        for _ in range(64):
            try:
                frame = self.ports[name].recv(65536)
            except BlockingIOError:
                return
            if name in self.cut:
                continue
            text = report_in(frame)
            if text is not None:
                self.lines.append((time.monotonic(), name, text))
            for other in self.ports:
                if other != name:
                    self.send(other, frame)

    def send(self, name: str, frame: bytes) -> None:
        """Out of one port; a full or absent receiver loses the frame, as on a wire."""
        if name in self.cut:
            return
        try:
            self.ports[name].sendto(frame, str(self.directory / f"{name}.lan"))
        except OSError:
            pass

    def serve(self) -> None:
        """One client: a request a line, an answer a line, until it hangs up."""
        connection, _ = self.listener.accept()
        connection.settimeout(5)
        try:
            with connection, connection.makefile("rwb") as stream:
                line = stream.readline()
                if line:
                    stream.write(json.dumps(self.answer(json.loads(line))).encode() + b"\n")
        except (OSError, ValueError) as error:
            print(f"hub: {error}", file=sys.stderr, flush=True)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what one request asks."""
        match request["op"]:
            case "lines":
                since = int(request["since"])
                return {"lines": self.lines[since:], "next": len(self.lines)}
            case "send":
                for name in self.ports:
                    self.send(name, request_frame(request["text"]))
            case "clear":
                self.clear()
            case "cut":
                self.cut = set(request["hosts"])
            case "stop":
                self.running = False
            case other:
                return {"error": f"unknown request {other}"}
        return {}

    def clear(self) -> None:
        """Forget everything, what still waits in the ports included."""
        for port in self.ports.values():
            try:
                while True:
                    port.recv(65536)
            except BlockingIOError:
                pass
        self.lines.clear()


if __name__ == "__main__":
    Hub(Path(sys.argv[1]), sys.argv[2:]).loop()
