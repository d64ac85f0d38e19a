"""Rewinds and force-pushes are held; a person's word counts for one step only."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.errors import InputError
from reconciler.model.placement import Problem
from reconciler.source import admission
from reconciler.source.admission import Accepted
from reconciler.source.signatures import Signatures

from . import signing
from .conftest import Repository

REF = "refs/heads/main"


def refusal(
    repository: Repository, new: str, old: str | None, accepted: Accepted | None = None
) -> Problem | None:
    return admission.refusal(repository.path, REF, new, old, accepted, None)


@pytest.fixture
def line(repository: Repository) -> list[str]:
    """Three commits in a row, and a fourth beside them."""
    commits = [repository.commit({"a": str(number)}) for number in range(3)]
    repository.git("checkout", "-q", "-b", "side", commits[0])
    return [*commits, repository.commit({"a": "side"})]


def test_what_builds_on_the_commit_in_force_needs_no_word(repository: Repository, line: list[str]) -> None:
    assert refusal(repository, line[0], None) is None
    assert refusal(repository, line[1], line[1]) is None
    assert refusal(repository, line[2], line[0]) is None


def test_a_rewind_and_a_force_push_are_held_with_what_to_do(repository: Repository, line: list[str]) -> None:
    first, _, last, side = line
    for new in (first, side):
        problem = refusal(repository, new, last)
        assert problem is not None
        assert f"does not build on {last[:12]}, which stays in force" in problem.message
        assert f"`reconciler accept {new}`" in problem.allowed
        assert (problem.commit, problem.file) == (new, REF)


def test_the_commit_in_force_was_thrown_away(repository: Repository, line: list[str]) -> None:
    assert refusal(repository, line[2], "1" * 40) is not None


def test_a_word_counts_for_its_step_and_what_builds_on_it(repository: Repository, line: list[str]) -> None:
    first, second, last, side = line
    word = Accepted(last, first)
    assert refusal(repository, first, last, word) is None
    assert refusal(repository, side, last, word) is None, "it builds on the accepted one"
    assert refusal(repository, first, second, word) is not None, "another commit is in force"
    assert refusal(repository, second, side, word) is not None
    assert refusal(repository, second, last, Accepted(last, side)) is not None


def test_the_note(tmp_path: Path) -> None:
    assert admission.noted(tmp_path) is None
    step = Accepted("1" * 40, "2" * 64)
    admission.note(tmp_path, step)
    assert admission.noted(tmp_path) == step
    for damage in (b"", b"1" * 40, b"x" * 1000, b"\xff", f"{'1' * 40} ../{'2' * 40}\n".encode()):
        (tmp_path / admission.NOTE).write_bytes(damage)
        assert admission.noted(tmp_path) is None
    with pytest.raises(InputError, match="run this as"):
        admission.note(tmp_path / "absent", step)


def test_a_required_signature_is_asked_for_before_anything_else(
    repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "signers").write_text(f"alice {signing.new_key(tmp_path / 'alice')}\n")
    required = Signatures(tmp_path / "signers")
    good = signing.sign(repository, tmp_path / "alice")
    bare = repository.commit()
    assert admission.refusal(repository.path, REF, good, None, None, required) is None
    for old in (None, good, bare):
        problem = admission.refusal(repository.path, REF, bare, old, Accepted(good, bare), required)
        assert problem is not None
        assert "it is not signed" in problem.message
