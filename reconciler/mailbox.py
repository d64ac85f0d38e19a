"""Requests on their way to the daemon: one small file each, in a folder of the state folder.

The daemon alone writes the journal, so that a command line that hangs can never keep it from doing so.
A request is written whole or not at all, and is there until the daemon has kept what became of it.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
import secrets
from pathlib import Path

from reconciler.errors import InputError
from reconciler.model.names import is_domain
from reconciler.model.request import Request, Verb
from reconciler.model.stamp import stamp, unstamp

MAX_BYTES = 8192
MAX_REASON = 500
FOLDER_MODE = 0o700
NAME = re.compile(r"[0-9]{8}T[0-9]{12}-[0-9a-f]{8}\.json")
log = logging.getLogger("reconciler")


def folder_of(state_dir: Path) -> Path:
    return state_dir / "requests"


def new(
    verb: Verb, domain: str, move_id: str | None, reason: str, now: datetime.datetime, chance: str = ""
) -> Request:
    """A request with a name of its own; names sort by time."""
    if not is_domain(domain):
        raise InputError(f"{domain!r} is not the name of a domain")
    if len(reason) > MAX_REASON or not reason.isprintable():
        raise InputError(f"a reason is one line of at most {MAX_REASON} characters")
    when = now.astimezone(datetime.UTC).strftime("%Y%m%dT%H%M%S%f")
    return Request(f"{when}-{chance or secrets.token_hex(4)}", now, verb, domain, move_id, reason)


def put(folder: Path, request: Request) -> None:
    """Leave a request for the daemon; durable when this returns."""
    row = {
        "at": stamp(request.at),
        "verb": request.verb.value,
        "domain": request.domain,
        "move_id": request.move_id,
        "reason": request.reason,
    }
    path = folder / f"{request.ident}.json"
    temporary = folder / f".{request.ident}.tmp"
    try:
        open_folder(folder)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(row, file)
            file.flush()
            give_to_owner(handle, folder)
            os.fsync(handle)
        temporary.replace(path)
        _sync(folder)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}; run this as root or as the daemon") from None


def open_folder(folder: Path) -> None:
    """Make the folder, for the owner of the state folder alone."""
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        raise InputError(f"{folder.parent}: there is no such state folder; has the daemon ever run?")
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        give_to_owner(handle, folder.parent)
    finally:
        os.close(handle)


def give_to_owner(handle: int, folder: Path) -> None:
    """The daemon must be able to read and remove what root leaves for it."""
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(handle, owner.st_uid, owner.st_gid)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def names(folder: Path) -> list[str]:
    """The requests that wait, oldest first; none when the folder cannot be read."""
    try:
        return sorted(entry.name for entry in os.scandir(folder) if NAME.fullmatch(entry.name))
    except OSError:
        return []


def read(folder: Path, name: str) -> Request | None:
    """One request; None, with a line in the log, when the file holds none."""
    try:
        handle = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        row = json.loads(content) if len(content) <= MAX_BYTES else {}
        at, verb = unstamp(row["at"]), Verb(row["verb"])
        move_id = None if row["move_id"] is None else str(row["move_id"])
        found = new(verb, str(row["domain"]), move_id, str(row["reason"]), at, "0")
        if at.tzinfo is None:
            raise ValueError("a time without a zone")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, InputError) as error:
        log.error("%s: not a request, it is dropped: %s", folder / name, error)
        return None
    return Request(name.removesuffix(".json"), at, verb, found.domain, move_id, found.reason)


def drop(folder: Path, name: str) -> None:
    """Put a request away."""
    try:
        (folder / name).unlink(missing_ok=True)
    except OSError as error:
        log.error("%s: cannot be removed: %s", folder / name, error.strerror)
