"""The daemon's own configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.config import Config, Range, Ssh, load_config
from reconciler.errors import InputError
from reconciler.source.signatures import Signatures

SMALL = "repository: placement.git\nssh: {key_file: id, known_hosts_file: /etc/known_hosts}\n"


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "reconciler.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_a_small_file_and_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, SMALL)) == Config(
        repository=tmp_path / "placement.git", ssh=Ssh(tmp_path / "id", Path("/etc/known_hosts"), 15)
    )


def test_the_example_shows_the_defaults() -> None:
    example = Path(__file__).parents[1] / "systemd" / "reconciler.yaml.example"
    folder = example.parent
    assert load_config(example) == Config(
        repository=Path("/srv/git/placement.git"), ssh=Ssh(folder / "id_ed25519", folder / "known_hosts")
    )


def test_every_field_arrives(tmp_path: Path) -> None:
    text = """\
ref: refs/heads/prod
folder: some/where
state_dir: state
interval_s: 1
max_moves: 2
link_rate_mb_s: 3
disk_rate_mb_s: 4
ports: {first: 7000, last: 7001}
minors: {first: 0, last: 0}
domain_retry_s: 0
max_attempts: 6
"""
    found = load_config(
        write(tmp_path, SMALL.replace("/etc/known_hosts}", "k, connect_timeout_s: 7}") + text)
    )
    assert found == Config(
        tmp_path / "placement.git",
        Ssh(tmp_path / "id", tmp_path / "k", 7),
        "refs/heads/prod",
        "some/where",
        tmp_path / "state",
        tmp_path / "state" / "report.json",
        1,
        2,
        3,
        4,
        Range(7000, 7001),
        Range(0, 0),
        0,
        6,
    )
    report = load_config(write(tmp_path, SMALL + "report_file: r.json\n")).report_file
    assert report == tmp_path / "r.json"


def test_signatures(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, SMALL)).signatures is None
    text = SMALL + "signatures: {ssh_allowed_signers_file: signers, gpg_home: /etc/keys}\n"
    assert load_config(write(tmp_path, text)).signatures == Signatures(
        tmp_path / "signers", None, Path("/etc/keys")
    )


def test_relative_paths_start_at_the_file_not_at_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, SMALL)
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("reconciler.yaml")).repository == tmp_path / "placement.git"


def test_ranges() -> None:
    assert len(Range(7800, 7899)) == 100
    assert 7899 in Range(7800, 7899)
    assert 7900 not in Range(7800, 7899)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SMALL + "interval: 5\n", r"reconciler\.yaml:3: the file has no field 'interval'; did you mean «int"),
        (SMALL + "interval_s: 0\n", r":3: interval_s has a value that cannot be used; found 0; allowed: sec"),
        (SMALL + "interval_s: '5'\n", r":3: interval_s must be a whole number; found '5'"),
        (SMALL + "repository: x\n", r":3: the key is there twice, first on line 1"),
        (SMALL + "ref: main\n", r":3: ref has a value that cannot be used; found 'main'; allowed: .*in full"),
        (SMALL + "ref: refs/heads/a..b\n", r":3: ref: 'refs/heads/a..b' is not the name of a ref"),
        (SMALL + "folder: ../x\n", r":3: folder: '../x' is not a folder of the repository"),
        (SMALL + "ports: {first: 9000, last: 8000}\n", r":3: ports: an empty range; found 9000 to 8000"),
        (SMALL + "ports: {first: 9000}\n", r":3: ports needs a field 'last'"),
        (SMALL + "folder: NO\n", r":3: must be quoted: some YAML tools read it as true or false; found NO"),
        (SMALL + "signatures: {}\n", r":3: signatures has a value that.*allowed: a mapping with"),
        (SMALL + "signatures: {ssh_revoked_keys_file: x}\n", r":3: signatures has a value that"),
        ("repository: x\n", r":1: the file needs a field 'ssh'"),
        ("repository: x\nssh:\n  key_file: x\n", r":2: ssh needs a field 'known_hosts_file'"),
        ("", r":1: the file must be a mapping; found nothing"),
        (b"a: \xff\n", r":1: not UTF-8"),
        (b"#" * 2_000_000, r":1: the file is too large"),
    ],
)  # fmt: skip
def test_mistakes_name_file_line_value_and_what_is_allowed(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_config(write(tmp_path, text))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_config(write(tmp_path, SMALL + "x: 1\nmax_moves: 0\n"))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot read the configuration"):
        load_config(tmp_path / name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary() | st.text().map(lambda text: (SMALL + text).encode()))
def test_any_content_is_a_config_or_an_input_error(tmp_path: Path, content: bytes) -> None:
    try:
        load_config(write(tmp_path, content))
    except InputError:
        pass
