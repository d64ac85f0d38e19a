"""Small files on hosts: symlinks, configurations, images; written so that a crash leaves old or new."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.commands import read
from reconciler.errors import ParseError
from reconciler.model.command import Answer, Command, whole_lines
from reconciler.model.facts import Query, View

STATE = "/var/lib/xen-reconciler"
LINKS_DIR = "/etc/xen/disks"
AUTO_DIR = "/etc/xen/auto"
LOCKS = "/run/xen-reconciler/locks"
HELD = 75
"""Exit status that `flock` is told to give when it would have to wait."""
NEW = ".xr-new"
"""What a file or symlink is called until it is whole; nobody else has such names."""
SAVE_DIR = "/var/lib/xen/save"
"""Where xendomains, as Debian sets it up, saves running domains at a shutdown, by their names; what it
finds there at the next boot it restores, whatever has happened to the disks since."""


@dataclass(frozen=True)
class ConfigFiles:
    """Domain configurations and autostart entries on a host, by path."""

    configs: frozenset[str]
    autostart: frozenset[str]


def _lines(answer: Answer, tool: str) -> list[str]:
    """Lines of a `find`; a folder that is not there holds nothing."""
    errors = [line for line in answer.stderr.splitlines() if "No such file or directory" not in line]
    if answer.exit not in (0, 1) or errors:
        raise ParseError(f"{tool} exited {answer.exit}: {answer.stderr.strip()[:200]}")
    return whole_lines(answer, tool)


def _table(answer: Answer, tool: str) -> dict[str, str]:
    rows = {}
    for line in _lines(answer, tool):
        path, tab, value = line.partition("\t")
        if not tab:
            raise ParseError(f"{tool}: cannot read {line!r}")
        rows[path] = value
    return rows


def parse_links(answer: Answer) -> Mapping[str, str]:
    """Symlink -> what it points to."""
    return _table(answer, "find")


def parse_programs(answer: Answer) -> frozenset[str]:
    """The names of those that are there."""
    return frozenset(_table(answer, "find"))


def parse_sizes(answer: Answer) -> Mapping[str, int]:
    """File -> size in bytes."""
    return {path: read.number(size, "find") for path, size in _table(answer, "find").items()}


def parse_configs(answer: Answer) -> ConfigFiles:
    """Sort /etc/xen and /etc/xen/auto into configurations and autostart entries."""
    rows = [line.split("\t") for line in _lines(answer, "find")]
    if any(len(row) != 3 for row in rows):
        raise ParseError("find: a line has not three parts")
    paths = [row[1] for row in rows]
    return ConfigFiles(
        configs=frozenset(path for path in paths if path.rsplit("/", 1)[0] == "/etc/xen"),
        autostart=frozenset(path for path in paths if path.rsplit("/", 1)[0] == AUTO_DIR),
    )


def parse_epochs(answer: Answer) -> Mapping[str, int]:
    """Domain -> the newest epoch this host has seen."""
    if answer.exit not in (0, 1, 2) or answer.stderr.strip():
        raise ParseError(f"grep exited {answer.exit}: {answer.stderr.strip()[:200]}")
    epochs = {}
    for line in whole_lines(answer, "grep"):
        path, _, value = line.rpartition(":")
        if path.endswith(".new"):
            continue
        if not re.fullmatch("[0-9]{1,18}", value) or "/" not in path:
            raise ParseError(f"epochs: cannot read {line!r}")
        epochs[path.rsplit("/", 1)[1]] = int(value)
    return epochs


def parse_space(answer: Answer) -> int:
    """Free bytes from `df --output=target,avail`."""
    rows = whole_lines(answer, "df")
    if not answer.ok or len(rows) < 2 or not rows[1].split():
        raise ParseError(f"df exited {answer.exit}: {answer.stderr.strip()[:200]}")
    return read.number(rows[1].split()[-1], "df")


def parse_text(answer: Answer) -> str | None:
    """A file's text, None when it is not there."""
    if answer.ok:
        return answer.stdout
    if "No such file" in answer.stderr:
        return None
    raise ParseError(f"cat exited {answer.exit}: {answer.stderr.strip()[:200]}")


def parse_lock(answer: Answer) -> bool:
    """Whether somebody has it, from `flock --nonblock --conflict-exit-code 75`."""
    if answer.exit not in (0, HELD) or answer.stderr.strip():
        raise ParseError(f"flock exited {answer.exit}: {answer.stderr.strip()[:200]}")
    return answer.exit == HELD


def parse_line(answer: Answer) -> str:
    """One line that must not be empty."""
    if not answer.ok or not answer.stdout.strip() or len(whole_lines(answer, "output")) != 1:
        raise ParseError(f"exited {answer.exit}: {answer.stderr.strip()[:200]}")
    return answer.stdout.strip()


def _find(*words: str) -> Command:
    return Command(("find", *words))


BOOT_ID: Query[str] = Query("the boot id", Command(("cat", "/proc/sys/kernel/random/boot_id")), parse_line)
NODE: Query[str] = Query("the node name", Command(("uname", "-n")), parse_line)
LINKS: Query[Mapping[str, str]] = Query(
    "the disk symlinks", _find(LINKS_DIR, "-maxdepth", "1", "-type", "l", "-printf", r"%p\t%l\n"), parse_links
)
CONFIG_FILES: Query[ConfigFiles] = Query(
    "the configuration files",
    Command(("find", AUTO_DIR, "/etc/xen", "-maxdepth", "1", "-name", "*.cfg", "-printf", r"%y\t%p\t%l\n")),
    parse_configs,
)
IMAGES: Query[Mapping[str, int]] = Query(
    "the saved images",
    _find(f"{STATE}/images", "-mindepth", "2", "-maxdepth", "2", "-type", "f", "-printf", r"%p\t%s\n"),
    parse_sizes,
)
SAVED_AT_SHUTDOWN: Query[Mapping[str, int]] = Query(
    "the images that the next boot restores",
    _find(SAVE_DIR, "-maxdepth", "1", "-type", "f", "-printf", r"%p\t%s\n"),
    parse_sizes,
)
RESOURCE_FILES: Query[Mapping[str, int]] = Query(
    "the DRBD resource files",
    _find("/etc/drbd.d", "-maxdepth", "1", "-name", "xr-*.res", "-printf", r"%p\t%s\n"),
    parse_sizes,
)
UNFINISHED: Query[Mapping[str, int]] = Query(
    "the files that were not finished",
    _find("/etc/xen", "/etc/drbd.d", "-maxdepth", "2", "-name", f"*{NEW}", "-printf", r"%p\t%s\n"),
    parse_sizes,
)
"""What `write` and `link` leave when they are cut short, or the disk is full."""
EPOCHS: Query[Mapping[str, int]] = Query(
    "the epochs", Command(("grep", "-rs", "", f"{STATE}/epochs")), parse_epochs
)
PROGRAMS: Query[frozenset[str]] = Query(
    "the programs that memory goes through",
    _find("/usr/bin", "-maxdepth", "1", "-regex", r"/usr/bin/\(openssl\|zstd\)", "-printf", r"%f\t%l\n"),
    parse_programs,
)
SPACE: Query[int] = Query(
    "the room for images", Command(("df", "-B1", "--output=target,avail", STATE)), parse_space
)


def text_of(path: str) -> Query[str | None]:
    """The text of one file."""
    return Query(f"the text of {path}", Command(("cat", path)), parse_text)


def lock_of(domain: str) -> Query[bool]:
    """Whether a command that changes something for the domain runs: the guard has its lock till then."""
    return _lock(f"what still runs for {domain}", domain, "--nonblock")


LOCK_WAIT_S = 10


def lock_after(domain: str) -> Query[bool]:
    """The same, once it has ended or LOCK_WAIT_S has passed: told without a delay when it ends."""
    return _lock(f"what runs for {domain} to its end", domain, "--timeout", str(LOCK_WAIT_S))


def _lock(name: str, domain: str, *how: str) -> Query[bool]:
    argv = ("flock", "--shared", *how, "--conflict-exit-code", str(HELD), f"{LOCKS}/{domain}", "true")
    return Query(name, Command(argv), parse_lock)


def write(path: str, text: str) -> tuple[Command, ...]:
    """Replace a file as a whole; durable once the last command has answered."""
    return (
        Command(("dd", f"of={path}{NEW}", "conv=fsync", "status=none"), stdin=text),
        Command(("mv", "-T", f"{path}{NEW}", path)),
        Command(("sync", "-f", path.rsplit("/", 1)[0])),
    )


def keep(path: str, text: str, found: str | None) -> tuple[Command, ...]:
    """The same when `found` is the text that is there: one that is right only has to last."""
    return write(path, text)[-1:] if found == text else write(path, text)


def link(path: str, target: str) -> tuple[Command, ...]:
    """Point a symlink somewhere in one step: at no moment is it missing."""
    return (
        Command(("mkdir", "-p", path.rsplit("/", 1)[0])),
        Command(("ln", "-sfn", target, f"{path}{NEW}")),
        Command(("mv", "-T", f"{path}{NEW}", path)),
    )


def unfinished(view: View, *paths: str) -> tuple[str, ...]:
    """What is left of writing these files, or of pointing these symlinks somewhere."""
    found = view.get(UNFINISHED)
    return tuple(f"{path}{NEW}" for path in paths if f"{path}{NEW}" in found)


def start_with_host(path: str, target: str) -> tuple[Command, ...]:
    """Make an autostart entry; durable once the last command has answered.

    Hosts start whatever is in that folder, a link by a temporary name as well: so there is none.
    """
    return (
        Command(("mkdir", "-p", path.rsplit("/", 1)[0])),
        Command(("ln", "-sfn", target, path)),
        sync_folder(AUTO_DIR),
    )


def sync_folder(path: str) -> Command:
    return Command(("sync", "-f", path))


def remove(*paths: str) -> Command:
    return Command(("rm", "-f", *paths))


def remove_folder(path: str) -> Command:
    return Command(("rm", "-rf", path))


def make_private_folder(path: str) -> Command:
    return Command(("mkdir", "-p", "-m", "0700", path))


def zero(device: str, size_bytes: int) -> Command:
    """Overwrite a small metadata volume, so that no old signature is found in it."""
    count = size_bytes // 1024**2
    return Command(
        (
            "dd",
            "if=/dev/zero",
            f"of={device}",
            "bs=1M",
            f"count={count}",
            "oflag=direct",
            "conv=fsync",
            "status=none",
        ),
        timeout_s=120,
    )


def copy_to(image: str, user: str, address: str, destination: str, timeout_s: float) -> Command:
    """Host to host over ssh, as `xl migrate` does: key and host key checked, no question asked."""
    return Command(
        (
            "scp", "-q", "-B",
            "-o", "StrictHostKeyChecking=yes",
            "-o", "ConnectTimeout=15",
            "-c", "aes128-gcm@openssh.com,aes128-ctr",
            image, f"{user}@{address}:{destination}",
        ),
        timeout_s=timeout_s,
        unit="ship",
    )  # fmt: skip


SETTLE = Command(("udevadm", "settle", "--timeout=10"), timeout_s=20)
NOTHING = Command(("true",))


def copy_image(image: str, device: str) -> Command:
    """A raw image onto a new volume."""
    return Command(
        ("dd", f"if={image}", f"of={device}", "bs=4M", "oflag=direct", "conv=fsync", "status=none"),
        timeout_s=3600,
        unit="populate",
    )


def unpack(tarball: str, device: str, mount_point: str) -> tuple[Command, ...]:
    """A fresh ext4 file system with a tarball in it."""
    return (
        Command(("mkfs.ext4", "-q", "-F", device), timeout_s=600, unit="populate"),
        Command(("mkdir", "-p", mount_point)),
        Command(("mount", device, mount_point)),
        Command(("tar", "-xf", tarball, "-C", mount_point), timeout_s=3600, unit="populate"),
        Command(("umount", mount_point), timeout_s=600),
        Command(("rm", "-rf", mount_point)),
    )
