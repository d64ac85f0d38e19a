"""Who signed a commit: checked by git with ssh-keygen or gpg, against keys the configuration names.

A signature counts when git says so *and* its words name a known signer: the exit status alone also
stands for keys nobody has listed. Nothing of the repository's own configuration has a say in it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from reconciler.source import wording
from reconciler.source.command import run

_NOTHING = "/bin/false"
_SSH_GOOD = re.compile(r'Good "git" signature for (.+) with (\S+) key (SHA256:\S+)')
_GPG_LINE = re.compile(r"\[GNUPG:\] (\w+)(?: (.*))?")
# One of these beside a good signature: more than one signature, or a key that counts no more.
_GPG_BAD = {"BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "KEYREVOKED", "NODATA", "FAILURE"}


@dataclass(frozen=True)
class Signatures:
    """Whose signature the commit in force must carry; a signer known to either kind is enough."""

    ssh_allowed_signers_file: Path | None = None
    ssh_revoked_keys_file: Path | None = None
    gpg_home: Path | None = None


@dataclass(frozen=True)
class Verdict:
    """`signer` is empty when the signature does not count; `why` then says why not."""

    signer: str
    why: str = ""


def verify(repository: Path, commit: str, required: Signatures) -> Verdict:
    """Who signed the commit given by its full id. SourceError when git cannot be run."""
    for path in (required.ssh_allowed_signers_file, required.ssh_revoked_keys_file, required.gpg_home):
        if path is not None and not os.access(path, os.R_OK):
            return Verdict(
                "", f"{path} cannot be read, so no signature can be checked; let the daemon's user read it"
            )
    result = run(
        repository,
        *("verify-commit", "--raw", commit),
        options=_options(required),
        environment={"GNUPGHOME": str(required.gpg_home or "/nonexistent")},
    )
    return judge(result.exit, result.complaint, required)


def judge(exit_code: int, said: str, required: Signatures) -> Verdict:
    """What `git verify-commit --raw` means. Pure."""
    lines = [line for line in said.split("\n") if line.strip()]  # no other separator: names may hold some
    ssh = [match for line in lines if (match := _SSH_GOOD.fullmatch(line.strip()))]
    gpg = [(match[1], match[2] or "") for line in lines if (match := _GPG_LINE.fullmatch(line.strip()))]
    good = [rest for word, rest in gpg if word == "GOODSIG"]
    valid = [rest for word, rest in gpg if word == "VALIDSIG"]
    bad = sorted({word for word, _ in gpg} & _GPG_BAD)
    if exit_code == 0 and len(ssh) == 1 and not gpg and required.ssh_allowed_signers_file:
        return Verdict(f"{ssh[0][1]} ({ssh[0][3]})")
    one = len(good) == len(valid) == 1 and bool(good[0].strip())
    if exit_code == 0 and one and not bad and not ssh and required.gpg_home:
        return Verdict(good[0])
    if not lines:
        return Verdict("", "it is not signed")
    return Verdict("", f"its signature is not of a key that counts today: {_telling(lines, bad)}")


def _telling(lines: list[str], bad: list[str]) -> str:
    """What to show of the tools' words, on one line and printable."""
    plain = [line.strip() for line in lines if not line.startswith("[GNUPG:]")]
    text = " / ".join([*bad, *(line for line in plain if line)][:4]) or lines[-1]
    return wording.cut(text if text.isprintable() else ascii(text), 250)


def _options(required: Signatures) -> tuple[str, ...]:
    """Programs and files for every kind of signature: what is not required is checked by nothing at all."""
    ssh = required.ssh_allowed_signers_file
    values = {
        "gpg.openpgp.program": "gpg" if required.gpg_home else _NOTHING,
        "gpg.program": "gpg" if required.gpg_home else _NOTHING,
        "gpg.x509.program": _NOTHING,
        "gpg.ssh.program": "ssh-keygen" if ssh else _NOTHING,
        "gpg.ssh.allowedSignersFile": str(ssh or os.devnull),
        "gpg.ssh.revocationFile": str(required.ssh_revoked_keys_file or os.devnull),
        "gpg.minTrustLevel": "undefined",
    }
    return tuple(word for key, value in values.items() for word in ("-c", f"{key}={value}"))
