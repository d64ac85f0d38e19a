"""Required signatures, with real keys and real git."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reconciler.source import signatures
from reconciler.source.signatures import Signatures

from . import signing
from .conftest import Repository


@pytest.fixture
def required(tmp_path: Path) -> Signatures:
    """One known signer, `alice`, whose key is in the file of that name."""
    public = signing.new_key(tmp_path / "alice")
    (tmp_path / "signers").write_text(f"alice@example.org {public}\n")
    return Signatures(ssh_allowed_signers_file=tmp_path / "signers")


def test_a_known_signer(repository: Repository, required: Signatures, tmp_path: Path) -> None:
    commit = signing.sign(repository, tmp_path / "alice")
    assert signatures.verify(repository.path, commit, required).signer.startswith(
        "alice@example.org (SHA256:"
    )


def test_an_unsigned_commit(repository: Repository, required: Signatures) -> None:
    verdict = signatures.verify(repository.path, repository.commit({"a": "1"}), required)
    assert verdict == signatures.Verdict("", "it is not signed")


def test_an_unknown_signer(repository: Repository, required: Signatures, tmp_path: Path) -> None:
    signing.new_key(tmp_path / "mallory")
    verdict = signatures.verify(repository.path, signing.sign(repository, tmp_path / "mallory"), required)
    assert not verdict.signer
    assert "No principal matched" in verdict.why


def test_a_revoked_key(repository: Repository, required: Signatures, tmp_path: Path) -> None:
    commit = signing.sign(repository, tmp_path / "alice")
    revoked = tmp_path / "revoked"
    revoked.write_text("")
    with_list = Signatures(required.ssh_allowed_signers_file, revoked)
    assert signatures.verify(repository.path, commit, with_list).signer
    shutil.copy(tmp_path / "alice.pub", revoked)
    verdict = signatures.verify(repository.path, commit, with_list)
    assert not verdict.signer
    assert "not of a key that counts today" in verdict.why


def test_a_key_whose_time_is_over(repository: Repository, required: Signatures, tmp_path: Path) -> None:
    commit = signing.sign(repository, tmp_path / "alice")
    public = (tmp_path / "alice.pub").read_text()
    (tmp_path / "signers").write_text(f'alice@example.org valid-before="20200101" {public}')
    assert not signatures.verify(repository.path, commit, required).signer


def test_a_signature_moved_to_another_commit(
    repository: Repository, required: Signatures, tmp_path: Path
) -> None:
    good = repository.git("cat-file", "commit", signing.sign(repository, tmp_path / "alice"))
    tree = repository.git("rev-parse", "HEAD^{tree}")
    repository.write("other", "1")
    repository.git("add", "-A")
    forged = good.replace(tree, repository.git("write-tree"))
    commit = repository.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=f"{forged}\n".encode())
    assert not signatures.verify(repository.path, commit, required).signer


def test_the_signer_of_a_parent_does_not_vouch_for_a_child(
    repository: Repository, required: Signatures, tmp_path: Path
) -> None:
    signing.sign(repository, tmp_path / "alice")
    assert not signatures.verify(repository.path, repository.commit(), required).signer


@pytest.mark.parametrize("missing", ["signers", "revoked"])
def test_a_list_that_cannot_be_read_refuses_everything(
    repository: Repository, required: Signatures, tmp_path: Path, missing: str
) -> None:
    commit = signing.sign(repository, tmp_path / "alice")
    if missing == "signers":
        (tmp_path / "signers").unlink()
    with_list = Signatures(required.ssh_allowed_signers_file, tmp_path / "revoked")
    verdict = signatures.verify(repository.path, commit, with_list)
    assert verdict.why.startswith(f"{tmp_path / missing} cannot be read")


def test_the_repositorys_own_configuration_has_no_say(
    repository: Repository, required: Signatures, tmp_path: Path
) -> None:
    """Neither may it name other signers, nor a program that calls everything good (or does worse)."""
    public = signing.new_key(tmp_path / "mallory")
    commit = signing.sign(repository, tmp_path / "mallory")
    (tmp_path / "hers").write_text(f"mallory {public}\n")
    ran = tmp_path / "ran"
    liar = tmp_path / "liar"
    liar.write_text(
        f"#!/bin/sh\ntouch {ran}\necho 'Good \"git\" signature for alice with ED25519 key SHA256:x'\n"
    )
    liar.chmod(0o755)
    repository.git("config", "gpg.ssh.allowedSignersFile", str(tmp_path / "hers"))
    for key in ("gpg.program", "gpg.openpgp.program", "gpg.x509.program", "gpg.ssh.program"):
        repository.git("config", key, str(liar))
    assert not signatures.verify(repository.path, commit, required).signer
    for kind in ("PGP SIGNATURE", "SIGNED MESSAGE"):
        text = repository.git("cat-file", "commit", repository.commit())
        head, _, body = text.partition("\n\n")
        forged = f"{head}\ngpgsig -----BEGIN {kind}-----\n x\n -----END {kind}-----\n\n{body}\n"
        odd = repository.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=forged.encode())
        assert not signatures.verify(repository.path, odd, required).signer
    assert not ran.exists()


@pytest.mark.parametrize(
    "said",
    [
        "",
        'Good "git" signature with ED25519 key SHA256:abc',
        'x Good "git" signature for alice with ED25519 key SHA256:abc',
        "[GNUPG:] GOODSIG 1234 alice",
        "[GNUPG:] GOODSIG 1234 alice\n[GNUPG:] VALIDSIG 1\n[GNUPG:] EXPKEYSIG 1 alice",
        "[GNUPG:] GOODSIG 1234 alice\n[GNUPG:] VALIDSIG 1\n[GNUPG:] GOODSIG 5 bob\n[GNUPG:] VALIDSIG 2",
        "[GNUPG:] REVKEYSIG 1234 alice\n[GNUPG:] VALIDSIG 1",
    ],
)
def test_words_that_do_not_count(said: str) -> None:
    both = Signatures(Path("/signers"), None, Path("/gpg"))
    assert not signatures.judge(0, said, both).signer


def test_good_words_count_only_with_exit_0_and_for_a_required_kind() -> None:
    ssh = 'Good "git" signature for alice with ED25519 key SHA256:abc'
    gpg = "[GNUPG:] GOODSIG 12 Bob\n[GNUPG:] VALIDSIG 1"
    only_ssh, only_gpg = Signatures(Path("/signers")), Signatures(gpg_home=Path("/gpg"))
    assert signatures.judge(0, ssh, only_ssh).signer == "alice (SHA256:abc)"
    assert signatures.judge(0, gpg, only_gpg).signer == "12 Bob"
    for code, said, required in (
        (1, ssh, only_ssh),
        (1, gpg, only_gpg),
        (0, ssh, only_gpg),
        (0, gpg, only_ssh),
    ):
        assert not signatures.judge(code, said, required).signer


def test_gpg_keys_in_the_keyring_count_until_they_are_revoked(repository: Repository, tmp_path: Path) -> None:
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed; the reading of its words is tested above")
    hers, daemons = tmp_path / "hers", tmp_path / "daemons"
    known, stranger = (signing.new_gpg_key(hers, name) for name in ("alice", "mallory"))
    signing.gpg(daemons, "--import", stdin=signing.gpg(hers, "--armor", "--export", known))
    required = Signatures(gpg_home=daemons)
    commit = signing.gpg_sign(repository, hers, known)
    assert "alice@example.org" in signatures.verify(repository.path, commit, required).signer
    other = signing.gpg_sign(repository, hers, stranger)
    assert not signatures.verify(repository.path, other, required).signer
    assert signatures.verify(repository.path, repository.commit(), required).why == "it is not signed"
    revocation = (hers / "openpgp-revocs.d" / f"{known}.rev").read_text().replace(":-----BEGIN", "-----BEGIN")
    signing.gpg(daemons, "--import", stdin=revocation)
    verdict = signatures.verify(repository.path, commit, required)
    assert not verdict.signer
    assert "REVKEYSIG" in verdict.why
