"""What a commit asks for, and that every mistake is told with its file, line, value and what is allowed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.placement import (
    Attach,
    Compression,
    Cutover,
    DiskSource,
    Domain,
    Host,
    NewDisk,
    Policy,
    Provision,
    Transport,
    Where,
)
from reconciler.source import documents
from reconciler.source.documents import Loaded

from .conftest import HOSTS

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROVISION = """\
hosts: {xen1: {address: 192.0.2.1}}
domains:
  web1:
    host: xen1
    provision:
      memory_mb: 512
      kernel: /boot/vmlinuz
      disks:
        - {name: root, device: xvda, size_mb: 100}
        - {name: data, device: xvdb, size_mb: 50}
"""


def read(*texts: str | bytes, **named: str) -> Loaded:
    """The texts as a.yaml, b.yaml, …"""
    files = {f"{letter}.yaml": text for letter, text in zip("abcdef", texts, strict=False)}
    files |= {f"{name}.yaml": text for name, text in named.items()}
    return documents.read(
        {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}, COMMIT
    )


def told(loaded: Loaded) -> list[str]:
    return [str(problem).removeprefix("0123456789ab:") for problem in loaded.problems]


def only(loaded: Loaded) -> str:
    assert loaded.desired is None
    (text,) = told(loaded)
    return text


def test_the_example_of_the_project_is_valid() -> None:
    example = Path(__file__).parents[2] / "desired" / "example.yaml"
    loaded = documents.read({"desired/example.yaml": example.read_bytes()}, COMMIT)
    assert loaded.problems == ()
    assert loaded.desired is not None
    assert loaded.desired.domains["web1"].policy == Policy(), "the example shows the defaults"
    assert loaded.desired.domains["db1"].policy == Policy(resync_rate_mb_s=40, max_freeze_s=60)


def test_a_domain_needs_only_its_host() -> None:
    loaded = read(HOSTS, "domains:\n  web1: {host: xen2}\n")
    assert loaded.problems == ()
    assert loaded.desired is not None
    assert loaded.desired.commit == COMMIT
    assert loaded.desired.domains == {"web1": Domain("web1", "xen2", where=Where("b.yaml", 2))}
    assert loaded.desired.hosts == {
        "xen1": Host("xen1", "192.0.2.1", "192.0.2.1"),
        "xen2": Host("xen2", "192.0.2.2", "192.0.2.2"),
    }


def test_every_field_arrives() -> None:
    loaded = read(
        """\
hosts:
  xen1:
    {address: xen1.example.org, replication_address: 10.0.0.1, port: 2222, user: mover, volume_group: data,
     reserve_memory_mb: 7}
defaults: {resync_rate_mb_s: 7, max_freeze_s: 9}
domains:
  web1:
    host: xen1
    uuid: 7F8D4A3E-9A0B-4D52-8D0E-5F2F7D8C1B2A
    policy:
      attach: suspend
      cutover: store
      compression: zstd
      transport: tcp
      sync_deadline_s: 1
      suspend_timeout_s: 2
      ship_timeout_s: 3
      max_freeze_s: null
      cutover_window: 22:00-04:00
    provision:
      memory_mb: 512
      vcpus: 2
      kernel: /k
      ramdisk: /r
      extra: root=/dev/xvda ro
      vifs: ["mac=00:16:3e:aa:bb:01,bridge=br0"]
      autostart: false
      disks:
        - {name: root, device: xvda, size_mb: 100, source: {tarball: /t.tar}}
        - {name: data, device: xvdb1, size_mb: 50, source: {image: /i.raw}}
        - {name: swap, device: xvdc, size_mb: 5}
"""
    )
    assert told(loaded) == []
    assert loaded.desired is not None
    assert loaded.desired.hosts["xen1"] == Host(
        "xen1", "xen1.example.org", "10.0.0.1", 2222, "mover", "data", 7
    )
    assert loaded.desired.domains["web1"] == Domain(
        "web1",
        "xen1",
        "7f8d4a3e-9a0b-4d52-8d0e-5f2f7d8c1b2a",
        Policy(
            Attach.SUSPEND, Cutover.STORE, Compression.ZSTD, Transport.TCP, 1, 2, 3, None, 7, "22:00-04:00"
        ),
        Provision(
            512,
            (
                NewDisk("root", "xvda", 100, DiskSource(tarball="/t.tar")),
                NewDisk("data", "xvdb1", 50, DiskSource(image="/i.raw")),
                NewDisk("swap", "xvdc", 5),
            ),
            vcpus=2,
            kernel="/k",
            ramdisk="/r",
            extra="root=/dev/xvda ro",
            vifs=("mac=00:16:3e:aa:bb:01,bridge=br0",),
            autostart=False,
        ),
        Where("a.yaml", 7),
    )


@pytest.mark.parametrize("domains", ["", "domains:\n", "domains: {}\n"])
def test_no_domains_are_fine(domains: str) -> None:
    loaded = read(HOSTS + domains)
    assert loaded.problems == ()
    assert loaded.desired is not None
    assert loaded.desired.domains == {}


@pytest.mark.parametrize("text", [None, "", "hosts:\n", "domains: {}\n"])
def test_no_hosts_are_an_error(text: str | None) -> None:
    assert "desired:1: no hosts are given" in only(read(*([] if text is None else [text])))


def cases(name: str) -> list[tuple[str, str]]:
    """Blocks of a file: a text, and after `=> ` what must be said about it."""
    blocks = (Path(__file__).parent / f"{name}.txt").read_text().strip().split("\n\n")
    return [(text, said) for text, _, said in (block.rpartition("=> ") for block in blocks)]


@pytest.mark.parametrize(("text", "said"), cases("mistakes-beside-good-hosts"))
def test_mistakes_beside_good_hosts(text: str, said: str) -> None:
    assert said in only(read(HOSTS + text))


@pytest.mark.parametrize(("text", "said"), cases("mistakes-in-hosts"))
def test_mistakes_in_hosts(text: str, said: str) -> None:
    assert said in only(read(text))


@pytest.mark.parametrize(("change", "said"), cases("mistakes-in-provision"))
def test_mistakes_in_provision(change: str, said: str) -> None:
    old, new = change.rstrip("\n").split("\nbecomes\n")
    assert PROVISION.count(old) == 1
    loaded = read(PROVISION.replace(old, new))
    assert loaded.desired is None
    assert said in told(loaded)[0]


def test_two_domains_may_not_ask_for_one_volume() -> None:
    disk = "provision: {{memory_mb: 64, kernel: /k, disks: [{{name: {}, device: xvda, size_mb: 1}}]}}"
    domains = (
        f"domains:\n  a: {{host: xen1, {disk.format('b-c')}}}\n  a-b: {{host: xen1, {disk.format('c')}}}\n"
    )
    assert (
        "a.yaml:6: domains.a-b.provision.disks[0].name: its volume would be that of a disk of a at a.yaml:5"
        in only(read(HOSTS + domains))
    )


def test_all_mistakes_of_all_files_are_told_at_once() -> None:
    loaded = read(
        HOSTS,
        "domains:\n  web1: {hots: xen1}\n  web2: {host: xen9}\n",
        "domains:\n  web3: {host: xen1, uuid: x}\n",
        "defaults: {x: 1}\n",
    )
    assert loaded.desired is None
    assert [text.split(": ")[0] for text in told(loaded)] == [
        "b.yaml:2",
        "b.yaml:2",
        "b.yaml:3",
        "c.yaml:2",
        "d.yaml:1",
    ]


def test_hosts_that_cannot_be_read_do_not_make_every_domain_wrong() -> None:
    assert "a.yaml:4" in only(read(HOSTS + "x: NO\n", "domains: {web1: {host: xen1}}\n"))
    assert "a.yaml:1" in only(read("host: {xen1: {address: 192.0.2.1}}\n", "domains: {web1: {host: xen1}}\n"))


def test_a_host_or_defaults_in_two_files() -> None:
    assert "b.yaml:1: hosts.xen1: this host is also at a.yaml:2" in only(
        read(HOSTS, "hosts: {xen1: {address: 192.0.2.9}}\n")
    )
    assert "b.yaml:1: defaults: defaults are also at a.yaml:4" in only(
        read(HOSTS + "defaults: {max_freeze_s: 1}\n", "defaults: {max_freeze_s: 2}\n")
    )


def test_a_domain_claimed_by_two_files_is_refused_and_the_others_go_on() -> None:
    loaded = read(
        HOSTS, "domains: {web1: {host: xen1}, web2: {host: xen1}}\n", "domains:\n  web1: {host: xen2}\n"
    )
    assert loaded.desired is not None
    assert set(loaded.desired.domains) == {"web2"}
    assert set(loaded.desired.refused) == {"web1"}
    claimed = "domains.web1: claimed twice, so left as it is; the same name: web1 at"
    assert told(loaded) == [
        f"b.yaml:1: {claimed} c.yaml:2; found 'web1'; allowed: one claim a domain",
        f"c.yaml:2: {claimed} b.yaml:1; found 'web1'; allowed: one claim a domain",
    ]


def test_names_that_differ_only_in_case_are_one_domain() -> None:
    loaded = read(HOSTS + "domains:\n  web1: {host: xen1}\n  WEB1: {host: xen2}\n  db: {host: xen1}\n")
    assert loaded.desired is not None
    assert set(loaded.desired.domains) == {"db"}
    assert {name: problem.line for name, problem in loaded.desired.refused.items()} == {"web1": 5, "WEB1": 6}


def test_one_uuid_under_two_names_is_one_domain() -> None:
    uuid = "7f8d4a3e-9a0b-4d52-8d0e-5f2f7d8c1b2a"
    loaded = read(
        HOSTS + f"domains:\n  a: {{host: xen1, uuid: {uuid}}}\n  b: {{host: xen2, uuid: {uuid.upper()}}}\n"
    )
    assert loaded.desired is not None
    assert loaded.desired.domains == {}
    assert set(loaded.desired.refused) == {"a", "b"}
    assert "the same UUID: b at a.yaml:6" in told(loaded)[0]


def test_an_error_elsewhere_outweighs_a_refusal() -> None:
    loaded = read(
        HOSTS, "domains: {web1: {host: xen1}}\n", "domains: {web1: {host: xen1}, x: {host: no-one}}\n"
    )
    assert loaded.desired is None
    assert len(loaded.problems) == 3


@pytest.mark.parametrize(
    "texts",
    [
        ["x: [" + "&a a, " * 50_000 + "]"],
        ["".join(f"k{i}: 1\n" for i in range(50_000))],
        ["domains:\n" + "".join(f"  d{i}: {{host: xen{i}x}}\n" for i in range(5_000))],
        [f"domains: {{web1: {{host: xen{i}}}}}\n" for i in range(3_000)],
        ["domains: {web1: {" + ", ".join(f"hos{i}: 1" for i in range(20_000)) + "}}"],
        ["domains: {" + "x" * 500_000 + "!: {host: xen1}}"],
    ],
    ids=["anchors", "fields", "unknown hosts", "claims", "fields of a domain", "long name"],
)
def test_hostile_documents_cost_bounded_time_and_words(texts: list[str]) -> None:
    began_s = time.process_time()  # not the clock on the wall: the machine may be busy
    loaded = documents.read({f"{i}.yaml": text.encode() for i, text in enumerate([HOSTS, *texts])}, COMMIT)
    assert time.process_time() - began_s < 30
    assert 1 <= len(loaded.problems) <= documents.MAX_PROBLEMS + 1
    assert all(len(text) < 1000 for text in told(loaded))


@given(st.lists(st.binary() | st.text().map(str.encode), max_size=3))
def test_any_files_give_a_verdict(contents: list[bytes]) -> None:
    loaded = documents.read({f"{i}.yaml": content for i, content in enumerate(contents)}, COMMIT)
    assert loaded.desired is None
    assert loaded.problems


FIELD_NAMES = """
    hosts domains defaults xen1 web1 Web1 host address port uuid policy provision memory_mb kernel disks name
    device size_mb source image tarball attach max_freeze_s replication_address user vifs
"""
FIELDS = st.sampled_from(FIELD_NAMES.split())
WORDS = st.sampled_from(["xen1", "xen2", "x y", "", "192.0.2.1", "ext4", "suspend", "/k", "root", "xvda"])
VALUES: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 70_000) | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=20,
)
SECTIONS = st.fixed_dictionaries({}, optional=dict.fromkeys(["hosts", "domains", "defaults"], VALUES))


@settings(max_examples=300)
@given(st.lists(SECTIONS, max_size=2))
def test_any_shape_gives_a_verdict(contents: list[dict[str, object]]) -> None:
    files = {f"{i}.yaml": yaml.safe_dump(content).encode() for i, content in enumerate(contents)}
    loaded = documents.read(files, COMMIT)
    if loaded.desired is None:
        assert loaded.problems
    for problem in loaded.problems:
        assert str(problem).isprintable()
        assert problem.line >= 1
