"""YAML with one meaning: what is refused, with which line, and that nothing else ever comes out."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.source import scalars, strict_yaml
from reconciler.source.strict_yaml import StrictYamlError, load

BILLION_LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
MERGE_BOMB = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)

REFUSED: dict[str, tuple[str | bytes, int, str]] = {
    "duplicate key": ("a: 1\nb: 2\na: 3\n", 3, "there twice, first on line 1"),
    "duplicate nested key": ("a:\n  b: 1\n  'b': 2\n", 3, "there twice, first on line 2"),
    "duplicate key with mappings": ("a: {x: 1}\na: {y: 1}\n", 2, "there twice"),
    "NO": ("ok: 1\ncountry: NO\n", 2, "as true or false"),
    "on as a key": ("on: 1\n", 1, "as true or false"),
    "octal": ("a:\n- 010\n", 2, "as a number"),
    "MAC of digits": ("mac: 52:54:00:12:34:56\n", 1, "as a number"),
    "underscores": ("a: 1_000\n", 1, "as a number"),
    "hexadecimal": ("a: 0x1F\n", 1, "as a number"),
    "date": ("a: 2026-01-02\n", 1, "as a date"),
    "impossible date": ("a: 2026-13-45 99:99:99\n", 1, "as a date"),
    "merge key": ("a:\n  <<: {b: 1}\n", 2, "merge keys are not supported"),
    "anchor": ("a: 1\nb: &x 1\n", 2, "anchors are not allowed"),
    "anchored mapping": ("a: 1\nb: &x\n  c: 1\n", 2, "anchors are not allowed"),
    "alias": ("a: &x 1\nb: *x\n", 1, "anchors are not allowed"),
    "unknown alias": ("b: *x\n", 1, "aliases are not allowed"),
    "python tag": ("a: 1\nb: !!python/object/apply:os.system [id]\n", 2, "tags are not allowed"),
    "plain tag": ("a: !!str 1\n", 1, "tags are not allowed"),
    "local tag": ("a: !x {b: 1}\n", 1, "tags are not allowed"),
    "non-specific tag": ("a: ! x\n", 1, "tags are not allowed"),
    "several documents": ("a: 1\n---\nb: 2\n", 2, "a second document"),
    "yaml directive": ("%YAML 1.1\n---\na: 1\n", 1, "directives"),
    "tag directive": ("%TAG ! tag:x,2000:\n---\na: 1\n", 1, "directives"),
    "control character": ("a: 1\nb: \x07\n", 2, "invisible character"),
    "escape character": ('a: 1\nb: "\x1b[2J"\n', 2, "invisible character"),
    "nul": (b"a: 1\n\0", 2, "invisible character"),
    "escaped control": ('a: 1\nb: "\\e[2J"\n', 2, "invisible character"),
    "delete": ("a: \x7f\n", 1, "invisible character"),
    "bidi": ("a: 1\n# \u202e evil\n", 2, "invisible character"),
    "bidi isolate": ("a: \u2066x\n", 1, "invisible character"),
    "escaped bidi": ('a: "\\u202e"\n', 1, "invisible character"),
    "zero width": ("xen\u200b1: 1\n", 1, "invisible character"),
    "byte order mark": (b"\xef\xbb\xbfa: 1\n", 1, "invisible character"),
    "surrogate": ('a: "\\ud800"\n', 1, "invisible character"),
    "line separator": ("a: 1\u2028b: 2\n", 1, "invisible character"),
    "lone carriage return": ("a: 1\rb: 2\n", 1, "invisible character"),
    "impossible character": ('a: 1\nb: "\\U99999999"\n', 2, "not YAML"),
    "not UTF-8": (b"a: 1\nb: \xff\n", 2, "not UTF-8"),
    "UTF-16": ("a: 1\n".encode("utf-16"), 1, "not UTF-8"),
    "deep flow": ("[" * 100_000, 1, "nested too deeply"),
    "deep closed flow": ("a: 1\nb: " + "[" * 21 + "]" * 21, 2, "nested too deeply"),
    "deep block": ("- " * 100_000, 1, "nested too deeply"),
    "deep mappings": ("".join(f"{'  ' * i}a:\n" for i in range(30)), 21, "nested too deeply"),
    "deep keys": ("? " * 10_000, 1, "a key must be text"),
    "huge": (b"#" * (1024 * 1024 + 1), 1, "too large"),
    "huge number": ("a: " + "9" * 10_000, 1, "as a number"),
    "several lines": ("a: |\n  x\n  y\n", 1, "more than one line"),
    "tab in a value": ('a: "x\ty"\n', 1, "a tab"),
    "number as a key": ("1: x\n", 1, "a key must be text"),
    "empty key": ("a: 1\n'': x\n", 2, "a key must be text"),
    "null as a key": ("null: x\n", 1, "a key must be text"),
    "true as a key": ("true: x\n", 1, "a key must be text"),
    "list as a key": ("[a]: x\n", 1, "a key must be text"),
    "alias as a key": ("a: &x b\n*x : 1\n", 1, "anchors"),
    "billion laughs": (BILLION_LAUGHS, 1, "anchors"),
    "merge bomb": (MERGE_BOMB, 1, "anchors"),
    "tab as indentation": ("a:\n\tb: 1\n", 2, "not YAML"),
    "nonsense": ("a: 1\nb: [\n", 3, "not YAML"),
    "two values": ("a: b: c\n", 1, "not YAML"),
}


def faults(text: str | bytes) -> tuple[strict_yaml.Fault, ...]:
    with pytest.raises(StrictYamlError) as caught:
        load(text.encode() if isinstance(text, str) else text)
    return caught.value.faults


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_documents_are_refused_with_their_line(name: str) -> None:
    text, line, message = REFUSED[name]
    began = time.process_time()
    first = faults(text)[0]
    assert time.process_time() - began < 2
    assert first.line == line
    assert message in first.message


AMBIGUOUS = """
    y Y n yes No on OFF True FALSE ~ Null NULL = << +1 0o17 0b1 0777 08 1e3 1.5E-3 .5 5. +.inf -.INF .NaN
    12:30 1:2:3.4 190:20:30 1__0 0_ -0x1f -010 2026-1-2T10:00:00Z 1234567890123456789
"""


@pytest.mark.parametrize("word", AMBIGUOUS.split())
def test_words_with_more_than_one_meaning(word: str) -> None:
    (fault,) = faults(f"- ok\n- {word}\n")
    assert fault.line == 2
    assert fault.value == word
    assert f'"{word}"' in fault.allowed
    assert load(f'- ok\n- "{word}"\n'.encode()).data == ["ok", word]


VALUES: dict[str, scalars.Scalar] = {
    "true": True,
    "false": False,
    "null": None,
    "": None,
    "0": 0,
    "-7": -7,
    "42": 42,
    "1.50": 1.5,
    "-0.25": -0.25,
    "999999999999999999": 999999999999999999,
}
TEXTS = """
    xen1 10.0.0.1 00:16:3e:aa:bb:01 7f8d4a3e-9a0b-4d52-8d0e-5f2f7d8c1b2a norway refs/heads/main 1.2.3 12-34
"""


@pytest.mark.parametrize("word", [*VALUES, *TEXTS.split(), "yes please"])
def test_words_with_one_meaning(word: str) -> None:
    value = VALUES.get(word, word)
    found = load(f"a: {word}\n".encode()).data["a"]
    assert found == value
    assert type(found) is type(value)


def test_values_know_their_lines() -> None:
    document = load(b"# first\r\na:\r\n  b: 1\r\n  c:\r\n  - x\r\n  - {d: 2}\r\n\r\ne: 'z'\r\n")
    assert document.data == {"a": {"b": 1, "c": ["x", {"d": 2}]}, "e": "z"}
    assert document.lines == {
        (): 2,
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "c"): 4,
        ("a", "c", 0): 5,
        ("a", "c", 1): 6,
        ("a", "c", 1, "d"): 6,
        ("e",): 8,
    }
    assert document.line(("a", "c", 7, "x")) == 4
    assert document.line(("zz",)) == 2


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "---\n...\n"])
def test_empty_documents(text: str) -> None:
    assert load(text.encode()).data is None


def test_twenty_levels_are_enough_and_allowed() -> None:
    assert load(("[" * 20 + "]" * 20).encode()).data


def test_all_faults_are_told() -> None:
    found = faults("a: NO\nb: !x 1\nc: &y 010\nc: *y\n")
    assert [fault.line for fault in found] == [1, 2, 3, 3, 4, 4]
    with pytest.raises(StrictYamlError, match=r"^line 1: must be quoted"):
        load(b"a: NO")


def test_very_many_faults_are_bounded() -> None:
    found = faults("- NO\n" * 10_000)
    assert len(found) == strict_yaml.MAX_FAULTS + 1
    assert "too many faults" in found[-1].message


def test_very_many_values_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_yaml, "MAX_VALUES", 1000)
    assert len(load(b"[" + b"a," * 999 + b"]").data) == 999
    found = faults("[" + "a," * 1000 + "]")
    assert "too many values" in found[-1].message


def load_or_refuse(data: bytes) -> strict_yaml.Document | None:
    """Anything else than the module's own error fails the test that calls this."""
    try:
        return load(data)
    except StrictYamlError as error:
        assert error.faults
        for fault in error.faults:
            assert 1 <= fault.line <= data.count(b"\n") + data.count(b"\r") + 2
        return None


@given(st.binary())
def test_any_bytes_give_a_document_or_the_own_error(data: bytes) -> None:
    load_or_refuse(data)


@given(st.text(alphabet=st.characters(codec="utf-8")))
@example('"\\U99999999"')
@example("%YAML 1." + "9" * 5000 + "\n---\n")
def test_any_text_gives_a_document_or_the_own_error(text: str) -> None:
    load_or_refuse(text.encode())


WORDS = r"""
    a b : [ ] { } *x << | > ' " \ \U9 NO 010 1:2 0.5 7 ~ 2026-01-02 % @ `
"""
SPACED = [": ", "\n", "  ", "- ", "? ", ", ", "&x ", "!t ", "!!str ", "|\n", ">\n", "---\n", "...\n", "# c\n"]
PIECES = st.sampled_from([*WORDS.split(), *SPACED, "%YAML 1.1\n", "\t", "\u202e", "\x00"])


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=30).map("".join))
def test_what_is_accepted_means_the_same_to_yaml_1_1(text: str) -> None:
    """Differential: whatever passes, PyYAML's safe_load reads as the very same values."""
    document = load_or_refuse(text.encode())
    if document is not None:
        assert yaml.safe_load(text) == document.data


@settings(max_examples=400)
@given(st.text(alphabet="0123456789_+-.:eExXoObBTZ ynNaAfFiI~=<", min_size=1, max_size=12))
def test_plain_words_mean_the_same_to_yaml_1_1(text: str) -> None:
    document = load_or_refuse(f"- {text}".encode())
    if document is not None:
        theirs = yaml.safe_load(f"- {text}")
        assert theirs == document.data
        assert repr(theirs) == repr(document.data)
