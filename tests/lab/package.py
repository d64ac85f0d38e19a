"""The tool as an archive to unpack on a host of the lab, which reaches no package index.

It stands for `pip install .` in a virtual environment and for `apt-get install git`: everything has the
place it would have then. Python is the host's own.
"""

from __future__ import annotations

import importlib.metadata
import io
import py_compile
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
VENV = "opt/xen-reconciler"
PACKED_CHECKOUT = "root/xen-reconciler"
PACKAGES = f"{VENV}/lib/python3.11/site-packages"
SAME_PYTHON = sys.version_info[:2] == (3, 11)
NOT_NEEDED = re.compile(r"/(pygments|pycparser|markdown_it|mdurl|tests|benchmarks)/|\.pyi$")
"""Only to keep the copy short: under emulation a thousand files take half a minute."""
PLATFORMS = (
    "manylinux_2_34_x86_64",
    "manylinux_2_28_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
)

RECONCILER = f"""\
#!/{VENV}/bin/python
import sys
from reconciler.cli import main
sys.exit(main())
"""
GIT = """\
#!/bin/sh
exec /usr/local/lib/git/loader --library-path /usr/local/lib/git /usr/local/lib/git/git "$@"
"""


def pack(archive: Path, scratch: Path) -> None:
    """Write the archive; its names start at a host's root."""
    files = [*libraries(scratch / "libraries"), *ours(scratch / "compiled"), *git()]
    files += [(path, f"{PACKED_CHECKOUT}/systemd/{path.name}") for path in (CHECKOUT / "systemd").iterdir()]
    with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
        for path, name in files:
            if not NOT_NEEDED.search(name):
                tar.add(path.resolve(), name, filter=of_root)
        for name, text in ((f"{VENV}/bin/reconciler", RECONCILER), ("usr/local/bin/git", GIT)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o755
            tar.addfile(entry, io.BytesIO(text.encode()))


def of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """As an installation by root leaves it, whatever this checkout's owner and umask are."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o755 if entry.mode & 0o100 else 0o644
    return entry


def ours(scratch: Path) -> Iterator[tuple[Path, str]]:
    """The package as this checkout has it (its schemas are a link there), compiled as pip does it."""
    for folder in ("reconciler", "reconciler/schemas"):
        for path in sorted((CHECKOUT / folder).rglob("*")):
            name = path.relative_to(CHECKOUT)
            if path.is_file() and path.suffix in (".py", ".json"):
                yield path, f"{PACKAGES}/{name}"
            if path.suffix == ".py" and SAME_PYTHON:
                compiled = scratch / name.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc"
                py_compile.compile(str(path), str(compiled), f"/{PACKAGES}/{name}", doraise=True)
                yield compiled, f"{PACKAGES}/{compiled.relative_to(scratch)}"


def libraries(scratch: Path) -> Iterator[tuple[Path, str]]:
    """What the package needs, for the host's Python: this one's own copies, or pip's if it is another."""
    if SAME_PYTHON:
        for name in sorted(needed("xen-reconciler", set())):
            for file in importlib.metadata.files(name) or ():
                path = Path(str(file.locate()))
                if path.is_file() and ".." not in file.parts:
                    yield path, f"{PACKAGES}/{file}"
        return
    wanted = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    options = ["--quiet", "--target", str(scratch), "--python-version", "3.11", "--only-binary", ":all:"]
    options += [word for platform in PLATFORMS for word in ("--platform", platform)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *wanted], check=True)
    for path in sorted(scratch.rglob("*")):
        if path.is_file():
            yield path, f"{PACKAGES}/{path.relative_to(scratch)}"


def needed(name: str, seen: set[str]) -> set[str]:
    """The installed distributions that one needs to run, and those that they need."""
    for requirement in importlib.metadata.requires(name) or ():
        match = re.match(r"[A-Za-z0-9_.-]+", requirement)
        if match is None or "extra ==" in requirement or match[0] in seen:
            continue
        try:
            importlib.metadata.version(match[0])
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system or an older Python
        seen.add(match[0])
        needed(match[0], seen)
    return seen


def git() -> Iterator[tuple[Path, str]]:
    """This machine's git with its loader and libraries, as its system may be a newer one than the host's."""
    program = shutil.which("git")
    assert program
    yield Path(program), "usr/local/lib/git/git"
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in re.findall(r"(/\S+) \(0x", said):
        name = "loader" if "/ld-" in path else Path(path).name
        yield Path(path), f"usr/local/lib/git/{name}"
