"""Refs, commits and what to watch, on real repositories."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import SourceError
from reconciler.source import command, git

from .conftest import Repository


def test_a_branch_a_tag_and_a_full_id_name_the_commit(repository: Repository) -> None:
    commit = repository.commit({"a": "1"})
    repository.git("tag", "-a", "-m", "x", "v1")
    for name in ("refs/heads/main", "main", "HEAD", "refs/tags/v1", "v1", commit):
        assert git.resolve(repository.path, name) == commit


def test_packed_refs_of_a_bare_repository(repository: Repository, tmp_path: Path) -> None:
    commit = repository.commit({"a": "1"})
    repository.git("clone", "-q", "--bare", str(repository.path), str(tmp_path / "clone.git"))
    assert "refs/heads/main" in (tmp_path / "clone.git" / "packed-refs").read_text()
    assert git.resolve(tmp_path / "clone.git", "refs/heads/main") == commit


def test_a_missing_ref_says_what_there_is(repository: Repository, bare: Repository) -> None:
    repository.commit({"a": "1"})
    with pytest.raises(SourceError, match=r"no ref refs/heads/prod.*it has refs/heads/main"):
        git.resolve(repository.path, "refs/heads/prod")
    with pytest.raises(SourceError, match="nothing is committed"):
        git.resolve(bare.path, "refs/heads/main")
    with pytest.raises(SourceError, match="has no commit 1111"):
        git.resolve(repository.path, "1" * 40)


@pytest.mark.parametrize(
    "ref",
    ["--upload-pack=x", "-n", "refs/heads/-x/../y", "refs/heads/a b", "refs/heads/a^{/x}", "refs/heads/a:b",
     "refs/heads/a..b", "refs/heads/a.lock", "refs/heads/a@{1}", "refs/heads/", "refs/heads/a\n", "", "refs/",
     "refs/heads/\u202ea", "@", "HEAD~1", "refs/heads/.a", "refs/heads/" + "a" * 300],
)  # fmt: skip
def test_what_is_no_ref_never_reaches_git(repository: Repository, ref: str) -> None:
    repository.commit({"a": "1"})
    with pytest.raises(SourceError):
        git.resolve(repository.path, ref)


@given(st.text())
def test_any_text_is_a_ref_or_a_source_error(text: str) -> None:
    try:
        ref = git.check_ref(text)
    except SourceError:
        return
    assert ref == "HEAD" or ref.startswith("refs/")


def test_what_is_no_repository(tmp_path: Path, repository: Repository) -> None:
    with pytest.raises(SourceError, match="is not the top of a git repository"):
        git.resolve(tmp_path / "absent", "HEAD")
    repository.commit({"below/a": "1"})
    with pytest.raises(SourceError, match="is not the top of a git repository"):
        git.resolve(repository.path / "below", "HEAD")
    broken = tmp_path / "broken.git"
    (broken / "objects").mkdir(parents=True)
    (broken / "HEAD").write_text("nonsense")
    with pytest.raises(SourceError, match="not a git repository"):
        git.resolve(broken, "HEAD")


def test_ancestors(repository: Repository) -> None:
    first = repository.commit({"a": "1"})
    second = repository.commit({"a": "2"})
    repository.git("checkout", "-q", "-b", "side", first)
    side = repository.commit({"a": "3"})
    assert git.is_ancestor(repository.path, first, second)
    assert git.is_ancestor(repository.path, second, second)
    assert not git.is_ancestor(repository.path, second, first)
    assert not git.is_ancestor(repository.path, second, side)
    assert not git.is_ancestor(repository.path, "1" * 40, second), "a commit that was thrown away"
    with pytest.raises(SourceError):
        git.is_ancestor(repository.path, first, "1" * 40)
    with pytest.raises(SourceError):
        git.is_ancestor(repository.path, "--all", second)


def test_replaced_commits_are_not_followed(repository: Repository) -> None:
    first = repository.commit({"a": "1"})
    second = repository.commit({"a": "2"})
    lonely = repository.git("commit-tree", f"{second}^{{tree}}", "-m", "x")
    repository.git("replace", second, lonely)
    assert git.is_ancestor(repository.path, first, second)


def test_variables_of_the_caller_have_no_say(
    repository: Repository, bare: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = repository.commit({"a": "1"})
    monkeypatch.setenv("GIT_DIR", str(bare.path))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(bare.path / "objects"))
    assert git.resolve(repository.path, "HEAD") == commit


def test_git_not_installed(repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="install git"):
        git.resolve(repository.path, "HEAD")


def test_a_git_that_hangs_is_ended(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent))
    with pytest.raises(SourceError, match=r"did not end within 0\.2 s"):
        command.run(repository.path, "rev-parse", timeout_s=0.2)


def test_output_is_cut_at_its_bound(repository: Repository) -> None:
    repository.commit({"a": "x" * 100_000})
    result = command.run(repository.path, "cat-file", "blob", "HEAD:a", limit_bytes=1000)
    assert (result.output, result.cut) == (b"x" * 1000, True)
    result = command.run(repository.path, "cat-file", "blob", "HEAD:a", limit_bytes=100_000)
    assert (len(result.output), result.cut, result.exit) == (100_000, False, 0)


def seen(watched: tuple[git.Watch, ...], before: dict[Path, int], after: dict[Path, int]) -> bool:
    """Whether one of the watches covers a file that has changed."""
    changed = {file for file in before.keys() | after.keys() if before.get(file) != after.get(file)}
    return any(covers(watch, file) for watch in watched for file in changed)


def covers(watch: git.Watch, file: Path) -> bool:
    below = file.parent == watch.folder or (watch.recursive and watch.folder in file.parents)
    return below and watch.matters(file)


def files(*folders: Path) -> dict[Path, int]:
    return {
        file: file.stat().st_mtime_ns for folder in folders for file in folder.rglob("*") if file.is_file()
    }


@pytest.mark.parametrize("kind", ["ordinary", "bare", "linked"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_way_a_ref_moves_is_watched(
    repository: Repository, tmp_path: Path, kind: str, packed: bool
) -> None:
    first = repository.commit({"a": "1"})
    second = repository.commit({"a": "2"})
    store = repository
    path = repository.path
    if kind == "bare":
        path = tmp_path / "clone.git"
        repository.git("clone", "-q", "--bare", str(repository.path), str(path))
        store = object.__new__(Repository)
        store.path = path
    elif kind == "linked":
        path = tmp_path / "linked"
        repository.git("worktree", "add", "-q", "-b", "side", str(path))
    if packed:
        store.git("pack-refs", "--all")
    watched = git.watches(path)
    assert all(watch.folder.is_dir() for watch in watched)
    before = files(repository.path / ".git", *([path] if kind == "bare" else []))
    store.git("update-ref", "refs/heads/main", first, second)
    between = files(repository.path / ".git", *([path] if kind == "bare" else []))
    assert seen(watched, before, between)
    store.git("pack-refs", "--all")
    assert seen(watched, between, files(repository.path / ".git", *([path] if kind == "bare" else [])))
    assert git.resolve(path, "refs/heads/main") == first


def test_a_linked_tree_has_its_own_head(repository: Repository, tmp_path: Path) -> None:
    first = repository.commit({"a": "1"})
    repository.commit({"a": "2"})
    path = tmp_path / "linked"
    repository.git("worktree", "add", "-q", "--detach", str(path))
    watched = git.watches(path)
    before = files(repository.path / ".git")
    repository.git("-C", str(path), "checkout", "-q", first)
    assert git.resolve(path, "HEAD") == first
    assert seen(watched, before, files(repository.path / ".git"))


def test_lock_files_and_others_do_not_matter() -> None:
    top = git.Watch(Path("/r"), False, ("packed-refs", "HEAD"))
    assert top.matters(Path("/r/packed-refs"))
    assert not top.matters(Path("/r/packed-refs.lock"))
    assert not top.matters(Path("/r/index"))
    assert not git.Watch(Path("/r/refs"), True).matters(Path("/r/refs/heads/main.lock"))
