"""Writes the report file: whole or not at all, readable by everybody, bounded in size.

A report that cannot be written must not stop a move, so trouble is returned as a text, never raised.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

MAX_BYTES = 16 * 1024 * 1024
MODE = 0o644


def write(path: Path, report: dict[str, Any], max_bytes: int = MAX_BYTES) -> str | None:
    """Put the report in place of the last one. None, or why the last one is still there."""
    content = _fitting(report, max_bytes)
    if content is None:
        return f"{path}: the report is larger than {max_bytes} bytes and was not written"
    try:
        replace(path, content)
    except OSError as error:
        return f"{path}: the report cannot be written: {error.strerror or error}"
    return None


def _fitting(report: dict[str, Any], max_bytes: int) -> bytes | None:
    """The report as JSON, with as much of its history, newest first, as there is room for."""
    history = report["history"]
    for kept in (len(history), len(history) // 4, 0):
        content = _text({**report, "history": history[:kept]}).encode("utf-8", "replace")
        if len(content) <= max_bytes:
            return content
    return None


def _text(report: dict[str, Any]) -> str:
    """JSON with a line for each key, and for each element of its lists: to be read, compared and searched."""
    lines = []
    for key, value in report.items():
        if isinstance(value, list) and value:
            rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in value)
            lines.append(f"{json.dumps(key)}: [\n  {rows}\n ]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a power cut, finds the old content or the new. Raises OSError.

    There is one writer; what a killed one left is removed by the next."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, MODE)  # whatever the umask is
            file.write(content)
            file.flush()
            os.fsync(handle)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
