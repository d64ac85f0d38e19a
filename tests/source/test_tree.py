"""The committed tree, and only it: hostile repositories of every kind."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler import source
from reconciler.errors import SourceError
from reconciler.source import git, tree

from .conftest import HOSTS, Repository

GOOD = HOSTS + "domains:\n  web1: {host: xen2}\n"


def read(repository: Repository, folder: str = "desired") -> tree.Tree:
    return tree.read_tree(repository.path, git.resolve(repository.path, "main"), folder)


def only(found: tree.Tree) -> str:
    assert not found.files
    (problem,) = found.problems
    return str(problem)


def test_yaml_files_below_the_folder_are_read(repository: Repository) -> None:
    commit = repository.commit(
        {
            "desired/a.yaml": "1",
            "desired/b/c d.yml": "2\n",
            "desired/empty.yaml": "",
            "desired/README.md": "x",
            "other.yaml": "x",
            "desired2/x.yaml": "x",
        }
    )
    found = read(repository)
    assert found == tree.Tree(
        commit, {"desired/a.yaml": b"1", "desired/b/c d.yml": b"2\n", "desired/empty.yaml": b""}, ()
    )
    assert set(read(repository, "desired/b/").files) == {"desired/b/c d.yml"}
    assert "other.yaml" in read(repository, ".").files


def test_uncommitted_edits_change_nothing(repository: Repository) -> None:
    repository.commit({"desired/a.yaml": GOOD})
    before = source.load(repository.path, "main", "desired")
    repository.write("desired/a.yaml", GOOD.replace("xen2}", "xen1}"))
    repository.write("desired/b.yaml", "nonsense: [")
    repository.git("add", "-A")
    assert source.load(repository.path, "main", "desired") == before
    assert before.desired and before.desired.domains["web1"].host == "xen2"
    repository.commit()
    assert source.load(repository.path, "main", "desired").desired is None


def test_filters_attributes_and_hooks_are_not_run(repository: Repository, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    repository.commit(
        {".gitattributes": "*.yaml filter=evil diff=evil ident text eol=crlf\n", "desired/a.yaml": "# $Id$\n"}
    )
    for key in (
        "filter.evil.smudge",
        "filter.evil.clean",
        "diff.evil.textconv",
        "core.pager",
        "core.fsmonitor",
    ):
        repository.git("config", key, f"touch {mark}")
    repository.git("config", "alias.ls-tree", f"!touch {mark}")
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc"):
        file = repository.write(f".git/hooks/{hook}", f"#!/bin/sh\ntouch {mark}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    assert read(repository).files == {"desired/a.yaml": b"# $Id$\n"}
    assert not mark.exists()


def test_a_partial_clone_fetches_nothing(repository: Repository, tmp_path: Path) -> None:
    repository.commit({"desired/a.yaml": GOOD})
    repository.git("config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone.git"
    url = f"file://{repository.path}"
    repository.git("clone", "-q", "--bare", "--filter=blob:none", url, str(clone))
    mark = tmp_path / "mark"
    repository.git("-C", str(clone), "config", "remote.origin.url", f"ext::sh -c touch% {mark}")
    repository.git("-C", str(clone), "config", "protocol.ext.allow", "always")
    with pytest.raises(SourceError, match=r"could not fetch|is not in the repository"):
        source.load(clone, "main", "desired")
    assert not mark.exists()


def test_replaced_objects_are_not_followed(repository: Repository) -> None:
    repository.commit({"desired/a.yaml": "1"})
    repository.git("replace", repository.git("rev-parse", "HEAD:desired/a.yaml"), repository.blob(b"2"))
    assert read(repository).files == {"desired/a.yaml": b"1"}


@pytest.mark.parametrize("name", ["desired/a.yaml", "desired/below/other"])
def test_symbolic_links_are_refused(repository: Repository, name: str) -> None:
    link = repository.path / name
    link.parent.mkdir(parents=True)
    link.symlink_to("/etc/passwd")
    repository.commit({"desired/b.yaml": GOOD})
    assert f"{name}:1: not a regular file; found a symbolic link" in only(read(repository))


def test_submodules_are_refused(repository: Repository) -> None:
    repository.commit({"desired/b.yaml": GOOD})
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},desired/sub")
    repository.git("commit", "-q", "-m", "x")
    assert "desired/sub:1: not a regular file; found a submodule" in only(read(repository))


def test_a_folder_that_is_none(repository: Repository) -> None:
    (repository.path / "link").symlink_to("desired")
    repository.commit({"desired/b.yaml": GOOD})
    assert "desired/b.yaml:1: not a folder but a file" in only(read(repository, "desired/b.yaml"))
    assert "link:1: not a folder but a symbolic link" in only(read(repository, "link"))
    assert "absent:1: the commit has no such folder" in only(read(repository, "absent"))
    for pattern in ("*", ":/desired", ":(top)desired"):
        assert f"{pattern}:1: the commit has no such folder" in only(read(repository, pattern))


@pytest.mark.parametrize("folder", ["/etc", "..", "a/../../b", ".git", "a\nb", "a\x00b", "\u202e"])
def test_a_folder_that_leads_out_is_refused(repository: Repository, folder: str) -> None:
    repository.commit({"desired/b.yaml": GOOD})
    with pytest.raises(SourceError, match="is not a folder of the repository"):
        read(repository, folder)


@given(st.text())
def test_any_text_is_a_folder_or_a_source_error(text: str) -> None:
    try:
        folder = tree.check_folder(text)
    except SourceError:
        return
    assert ".." not in folder.split("/")
    assert not folder.startswith("/")


@pytest.mark.parametrize("name", [b"..", b".", b".git"])
def test_names_that_lead_out_are_refused(bare: Repository, name: bytes) -> None:
    inner = bare.tree([("100644", bare.blob(b"x"), b"a.yaml")])
    bare.commit_tree(bare.tree([("40000", bare.tree([("40000", inner, name)]), b"desired")]))
    assert "the file's name cannot be used" in only(read(bare))


@pytest.mark.parametrize("name", [b"\xff.yaml", b"a\nb.yaml", "a\u202eb.yaml".encode(), b"a\x1b[2J.yaml"])
def test_names_that_cannot_be_printed_are_refused(bare: Repository, name: bytes) -> None:
    bare.commit_tree(bare.tree([("40000", bare.tree([("100644", bare.blob(b"x"), name)]), b"desired")]))
    text = only(read(bare))
    assert "the file's name cannot be used" in text
    assert text.isprintable()


def test_a_path_that_is_there_twice_is_refused(bare: Repository) -> None:
    records = [("100644", bare.blob(content), b"a.yaml") for content in (b"1", b"2")]
    bare.commit_tree(bare.tree([("40000", bare.tree(records), b"desired")]))
    assert "desired/a.yaml:1: the tree holds this path twice" in only(read(bare))


def test_a_huge_blob_is_refused_unread(repository: Repository) -> None:
    repository.commit({"desired/a.yaml": b"#" * (1024 * 1024 + 1), "desired/b.yaml": b"#" * 1024 * 1024})
    assert "desired/a.yaml:1: the file is too large; found 1048577 bytes" in only(read(repository))


def test_too_much_together_is_refused(repository: Repository) -> None:
    repository.commit({f"desired/{i}.yaml": b"#" * 1024 * 1024 for i in range(5)})
    assert "desired:1: the files are too large together; found 5242880 bytes" in only(read(repository))


def test_too_many_files_are_refused(bare: Repository) -> None:
    blob = bare.blob(b"#")
    records = [("100644", blob, b"%05d.yaml" % i) for i in range(10_001)]
    bare.commit_tree(bare.tree([("40000", bare.tree(records), b"desired")]))
    assert "desired:1: too many files" in only(read(bare))
    bare.commit_tree(bare.tree([("40000", bare.tree(records[:-1]), b"desired")]))
    assert len(read(bare).files) == 10_000


def test_a_listing_that_was_cut_is_never_taken_for_all(bare: Repository) -> None:
    blob = bare.blob(b"#")
    records = [("100644", blob, b"%05d" % i + b"x" * 1000) for i in range(5_000)]
    bare.commit_tree(bare.tree([("40000", bare.tree(records), b"desired")]))
    assert "desired:1: too many files" in only(read(bare))


def test_a_tree_bomb_is_cut_off_in_time(bare: Repository) -> None:
    """Ten trees that each name the next ten times: 10^10 files in a few hundred bytes."""
    made, mode = bare.blob(b"#"), "100644"
    for _ in range(10):
        made, mode = bare.tree([(mode, made, b"%d.yaml" % i) for i in range(10)]), "40000"
    bare.commit_tree(bare.tree([("40000", made, b"desired")]))
    began = time.monotonic()
    assert "desired:1: too many files" in only(read(bare))
    assert time.monotonic() - began < 10


def test_a_lost_object_is_an_error_of_the_source(repository: Repository) -> None:
    repository.commit({"desired/a.yaml": "1"})
    blob = repository.git("rev-parse", "HEAD:desired/a.yaml")
    (repository.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(SourceError, match=r"git|not in the repository"):
        read(repository)


def test_load_joins_everything(bare: Repository, repository: Repository) -> None:
    commit = repository.commit(
        {"desired/hosts.yaml": HOSTS, "desired/d.yml": "domains: {web1: {host: xen1}}\n"}
    )
    repository.git("push", "-q", str(bare.path), "main")
    bare.git("pack-refs", "--all")
    loaded = source.load(bare.path, "refs/heads/main", "desired")
    assert loaded.problems == ()
    assert loaded.commit == commit
    assert loaded.desired is not None
    assert loaded.desired.commit == commit
    assert str(loaded.desired.domains["web1"].where) == "desired/d.yml:1"
    link = repository.path / "desired" / "link"
    link.symlink_to("x")
    broken = source.load(repository.path, repository.commit(), "desired")
    assert broken.desired is None
    assert broken.problems[0].file == "desired/link"
