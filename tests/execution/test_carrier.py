"""Memory by TCP, plain and in TLS: the program in place of ssh, with an `ssh` that runs the command here."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from reconciler.commands import xl
from reconciler.execution import carrier
from reconciler.model.placement import Transport

SSH = """#!/bin/sh
echo "A banner of the site" >&2
for word; do last=$word; done
[ "$FAKE" = no-host ] && { echo "ssh: no route" >&2; exit 255; }
exec sh -c "$last"
"""
PROGRAM = Path(carrier.__file__).read_text()
SECURED = PROGRAM.replace("TLS = False\n", "TLS = True\n", 1)
SECRET = b"s" * carrier.SECRET_BYTES
BOTH = pytest.mark.parametrize("program", [PROGRAM, SECURED], ids=["plain", "tls"])


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "FAKE": ""}


def carry(
    env: dict[str, str], command: str, memory: bytes, address: str = "127.0.0.1", program: str = PROGRAM
) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-I", "-c", program, f"root@{address}", command]
    return subprocess.run(argv, input=memory, capture_output=True, timeout=60, env=env)


@BOTH
def test_what_goes_in_comes_out_there(env: dict[str, str], program: str) -> None:
    memory = random.Random(1).randbytes(5_000_001)
    done = carry(env, "cat; echo done >&2; exit 3", memory, program=program)
    assert done.returncode == 3
    assert done.stdout == memory
    assert done.stderr == b"A banner of the site\ndone\n"


@BOTH
def test_a_command_that_ends_early_ends_it(env: dict[str, str], program: str) -> None:
    """As with ssh, though more would come."""
    argv = [sys.executable, "-I", "-c", program, "root@127.0.0.1", "head -c 4"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as running:
        assert running.stdin is not None and running.stdout is not None
        running.stdin.write(b"memory")
        running.stdin.flush()
        assert running.stdout.read() == b"memo"
        assert running.wait(timeout=30) == 0


@BOTH
def test_a_host_that_cannot_be_reached(env: dict[str, str], program: str) -> None:
    done = carry({**env, "FAKE": "no-host"}, "cat", b"memory", program=program)
    assert (done.returncode, done.stdout) == (255, b"")
    assert done.stderr == b"A banner of the site\nssh: no route\n"


@BOTH
def test_an_address_that_is_not_the_other_hosts(env: dict[str, str], program: str) -> None:
    done = carry(env, "cat", b"memory", address="192.0.2.1", program=program)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"Cannot assign requested address" in done.stderr


def started(secret: bytes, way: str = "plain") -> tuple[subprocess.Popen[bytes], int, bytes]:
    """The other half, where it listens, and its certificate."""
    argv = [sys.executable, "-I", "-c", carrier.LISTEN, "127.0.0.1", "cat", way]
    pipe = subprocess.PIPE
    other = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe)
    assert other.stdin is not None and other.stderr is not None
    other.stdin.write(secret)
    other.stdin.close()
    other.stdin = None
    found = carrier.port_of(other.stderr)
    assert found is not None
    return other, *found


def listening(secret: bytes) -> tuple[subprocess.Popen[bytes], int]:
    other, port, certificate = started(secret)
    assert certificate == b""
    return other, port


@pytest.mark.parametrize("said", [b"x" * carrier.SECRET_BYTES, b"", b"short"])
def test_who_does_not_know_the_secret_is_not_heard(said: bytes) -> None:
    other, port = listening(b"s" * carrier.SECRET_BYTES)
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(said)
        stranger.shutdown(socket.SHUT_WR)
        assert stranger.recv(1) == b""
    with socket.create_connection(("127.0.0.1", port)) as right:
        right.sendall(b"s" * carrier.SECRET_BYTES + b"memory")
    assert other.communicate(timeout=30)[0] == b"memory"
    assert other.returncode == 0


def test_a_secret_that_comes_in_pieces_counts() -> None:
    other, port = listening(b"s" * carrier.SECRET_BYTES)
    with socket.create_connection(("127.0.0.1", port)) as right:
        for _ in range(2):
            right.sendall(b"s" * (carrier.SECRET_BYTES // 2))
            time.sleep(0.2)
        right.sendall(b"memory")
    assert other.communicate(timeout=30)[0] == b"memory"


def test_strangers_do_not_keep_it_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    short = carrier.LISTEN.replace(f"+ {carrier.CONNECT_S}", "+ 3")
    assert short != carrier.LISTEN
    monkeypatch.setattr(carrier, "LISTEN", short)
    other, port = listening(b"s" * carrier.SECRET_BYTES)
    began = time.monotonic()
    while other.poll() is None and time.monotonic() < began + 30:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=5) as stranger,
        ):
            stranger.sendall(b"?" * carrier.SECRET_BYTES)
            stranger.recv(1)
        time.sleep(0.05)
    assert other.wait() == 1
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_many_strangers_who_say_nothing_keep_nobody_out(way: str) -> None:
    """They were there first, and stay: who knows the secret is heard at once."""
    other, port, certificate = started(SECRET, way)
    with contextlib.ExitStack() as strangers:
        for _ in range(50):
            strangers.enter_context(socket.create_connection(("127.0.0.1", port)))
        began = time.monotonic()
        peer = strangers.enter_context(socket.create_connection(("127.0.0.1", port)))
        with carrier.wrapped(peer, certificate) if certificate else peer as right:
            right.sendall(SECRET + b"memory")
        assert other.communicate(timeout=30)[0] == b"memory"
        assert time.monotonic() - began < carrier.SILENT_S
    assert other.returncode == 0


def test_in_tls_a_slow_stranger_does_not_keep_it_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of his bytes comes in time, and the handshake never to its end."""
    short = carrier.LISTEN.replace(str(carrier.CONNECT_S), "3")
    monkeypatch.setattr(carrier, "LISTEN", short)
    other, port, _ = started(SECRET, "tls")
    with socket.create_connection(("127.0.0.1", port)) as stranger, pytest.raises(OSError):
        for byte in b"\x16\x03\x01\x40\x00" + bytes(100):
            stranger.sendall(bytes([byte]))
            time.sleep(0.2)
    assert other.communicate(timeout=30) == (b"", b"nobody came who knows the secret\n")
    assert other.returncode == 1


def test_without_a_secret_nobody_is_heard() -> None:
    """The source has gone before it said one."""
    argv = [sys.executable, "-I", "-c", carrier.LISTEN, "127.0.0.1", "cat", "plain"]
    done = subprocess.run(argv, input=b"short", capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"no secret came\n")


@BOTH
def test_a_command_that_reads_nothing_for_long_is_waited_for(env: dict[str, str], program: str) -> None:
    memory = random.Random(2).randbytes(30_000_000)
    done = carry(env, "sleep 3; cat", memory, program=program)
    assert (done.returncode, done.stdout == memory) == (0, True)
    assert "TCP_USER_TIMEOUT" not in PROGRAM, "Linux counts a reader that waits as silence (tcp(7))"


def test_what_ssh_says_is_shown_though_it_ends_at_once(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "ssh").write_text("#!/bin/sh\nexec <&-\nsleep 0.3\necho no route to host >&2\nexit 255\n")
    late = PROGRAM.replace(
        "    secret = secrets.token", "    import time\n    secret = secrets.token"
    ).replace("    assert other.stdin is not None", "    time.sleep(0.1)\n    assert other.stdin is not None")
    assert late.count("sleep") == PROGRAM.count("sleep") + 1
    argv = [sys.executable, "-I", "-c", late, "root@127.0.0.1", "cat"]
    done = subprocess.run(argv, input=b"memory", capture_output=True, timeout=60, env=env)
    assert (done.returncode, done.stderr) == (255, b"no route to host\n")


def test_in_tls_strangers_learn_nothing() -> None:
    """Neither who does not speak TLS, nor who speaks it without the secret; the right one comes last."""
    other, port, certificate = started(SECRET, "tls")
    assert certificate
    with socket.create_connection(("127.0.0.1", port)) as plain, contextlib.suppress(OSError):
        plain.sendall(SECRET + b"memory")
        plain.shutdown(socket.SHUT_WR)
        while plain.recv(1000):
            pass
    with (
        socket.create_connection(("127.0.0.1", port)) as peer,
        carrier.wrapped(peer, certificate) as stranger,
    ):
        stranger.sendall(b"x" * carrier.SECRET_BYTES)
        with contextlib.suppress(OSError):
            assert stranger.recv(1) == b""
    with socket.create_connection(("127.0.0.1", port)) as peer, carrier.wrapped(peer, certificate) as right:
        right.sendall(SECRET + b"memory")
    assert other.communicate(timeout=30)[0] == b"memory"
    assert other.returncode == 0


def test_in_tls_another_certificate_is_not_taken() -> None:
    """Somebody in between has made one of his own: he is told no secret."""
    _, certificate = (other := started(SECRET, "tls"))[1:]
    between = started(SECRET, "tls")
    with (
        socket.create_connection(("127.0.0.1", between[1])) as peer,
        pytest.raises(ssl.SSLError, match="another certificate"),
    ):
        carrier.wrapped(peer, certificate)
    for each in (other, between):
        each[0].kill()
        each[0].communicate()


def test_in_tls_a_certificate_serves_once() -> None:
    two = [started(SECRET, "tls") for _ in range(2)]
    assert two[0][2] != two[1][2]
    for each in two:
        each[0].kill()
        each[0].communicate()


def test_in_tls_what_is_sent_cannot_be_read_on_the_way() -> None:
    """A relay in between sees neither the secret nor the memory, and not a version before 1.3."""
    other, port, certificate = started(SECRET, "tls")
    seen, relay = [], socket.create_server(("127.0.0.1", 0))

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        while piece := source.recv(65536):
            seen.append(piece)
            sink.sendall(piece)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    with socket.create_connection(relay.getsockname()) as near:
        middle = relay.accept()[0]
        far = socket.create_connection(("127.0.0.1", port))
        for pair in ((middle, far), (far, middle)):
            threading.Thread(target=pass_on, args=pair, daemon=True).start()
        with carrier.wrapped(near, certificate) as right:
            assert right.version() == "TLSv1.3"
            right.sendall(SECRET + b"the memory of a guest")
    assert other.communicate(timeout=30)[0] == b"the memory of a guest"
    assert len(b"".join(seen)) > 500
    assert SECRET not in b"".join(seen) and b"the memory" not in b"".join(seen)
    for each in (relay, middle, far):
        each.close()


def test_in_tls_without_openssl(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "openssl").write_text("#!/bin/sh\necho no entropy >&2\nexit 1\n")
    (tmp_path / "openssl").chmod(0o755)
    done = carry(env, "cat", b"memory", program=SECURED)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"no certificate: no entropy" in done.stderr


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS])
def test_a_stream_by_it(env: dict[str, str], tmp_path: Path, transport: Transport) -> None:
    """The whole line, with an `xl` that sends and takes a text."""
    (tmp_path / "xl").write_text(
        '#!/bin/sh\n[ "$1" = save ] && { echo "memory of $3"; exit; }\ncat "$3" > "$TAKEN"\n'
    )
    (tmp_path / "xl").chmod(0o755)
    taken = tmp_path / "taken"
    stream = xl.stream("web1", "root", "127.0.0.1", 60, compressed=False, transport=transport)
    assert stream.stdin == (PROGRAM if transport is Transport.TCP else SECURED)
    env["TAKEN"] = str(taken)
    done = subprocess.run(
        stream.argv, input=stream.stdin, text=True, capture_output=True, timeout=60, env=env
    )
    assert done.returncode == 0, done.stderr
    assert taken.read_text() == "memory of web1\n"
