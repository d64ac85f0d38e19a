"""A person's word that a host was put back to an earlier state on purpose, left for the daemon as a file.

It names the numbers the person has seen, so it is good for just that step: a host that is rewound once more
is held once more. The daemon alone writes the journal.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from reconciler.errors import InputError
from reconciler.mailbox import give_to_owner, open_folder
from reconciler.model.names import is_host
from reconciler.moves.journal import Journal
from reconciler.planning.rewinds import Rewind

MAX_BYTES = 1 << 20
log = logging.getLogger("reconciler")


def folder_of(state_dir: Path) -> Path:
    return state_dir / "accepted-hosts"


def note(state_dir: Path, host: str, accepted: Iterable[Rewind]) -> None:
    """Leave word for the daemon; durable when this returns. Raises InputError."""
    folder = folder_of(state_dir)
    rows = {rewind.domain: [rewind.known, rewind.shown] for rewind in accepted if rewind.host == host}
    temporary = folder / f".{host}.tmp"
    try:
        open_folder(folder)
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(rows, file)
            file.flush()
            give_to_owner(file.fileno(), folder)
            os.fsync(file.fileno())
        temporary.replace(folder / f"{host}.json")
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}; run this as root or as the daemon") from None


def apply(state_dir: Path, journal: Journal) -> None:
    """Take over what people have accepted; for a read-only pass it waits. A note may be taken over twice."""
    if journal.read_only:
        return
    for path in sorted(folder_of(state_dir).glob("*.json")):
        host = path.name.removesuffix(".json")
        for domain, (known, shown) in _read(path, host).items():
            if journal.forget_accepted(host, domain, known, shown):
                log.warning("%s as it is was accepted: %s has %d, not %d", host, domain, shown, known)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.error("%s: cannot be removed: %s", path, error.strerror)


def _read(path: Path, host: str) -> dict[str, tuple[int, int]]:
    """What a note says; nothing, with a line in the log, when it cannot be understood."""
    try:
        with path.open("rb") as file:
            rows = json.loads(file.read(MAX_BYTES))
        if not is_host(host) or not isinstance(rows, dict):
            raise ValueError("not a host, or no object")
        return {str(domain): (int(known), int(shown)) for domain, (known, shown) in rows.items()}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        log.error("%s: not a note about a host, it is dropped: %s", path, error)
        return {}
