import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_common.openslo import reading, writing
from plumbline_common.openslo.reading import Unreadable

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20
)
ROOTS = st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4) | st.lists(VALUES, min_size=1, max_size=4)


def plain(text: str) -> list[Any]:
    return [node.plain() for node in reading.read(text)]


@given(ROOTS, st.sampled_from([None, 2, "\t"]), st.booleans())
def test_json_is_read_as_the_standard_library_reads_it(value: Any, indent: Any, ascii: bool) -> None:
    assert plain(json.dumps(value, indent=indent, ensure_ascii=ascii)) == [value]


@given(ROOTS)
def test_what_is_written_as_yaml_is_read_again(value: Any) -> None:
    assert plain(writing.dump(value)) == [value]


@given(st.text(max_size=60) | st.text(alphabet="{}[]:,-&*!<>|\"'# \n\tab01", max_size=60))
def test_any_text_is_read_or_told_with_its_place(text: str) -> None:
    with contextlib.suppress(Unreadable):
        reading.read(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a: 1\n---\n---\nb: 2\n", [{"a": 1}, {"b": 2}]),
        ("\ufeffa: 1\r\nb: two\r\n", [{"a": 1, "b": "two"}]),
        ('{"a": 1}\n{"b": 2}', [{"a": 1}, {"b": 2}]),
        ('{"smile": "\\ud83d\\ude00\\/"}', [{"smile": "\U0001f600/"}]),
        ("{a: b, c: [1]}", [{"a": "b", "c": [1]}]),
        ("on: yes\nat: 12:30\nday: 2026-02-30\nversion: 1.10", [
            {"on": "yes", "at": "12:30", "day": "2026-02-30", "version": 1.1}
        ]),
        ("octal: 0o17\nhex: 0xff\nzero: 007\nno: ~", [{"octal": 15, "hex": 255, "zero": 7, "no": None}]),
        ("base: &base {x: 1, y: 1}\none: {<<: *base, y: 2}", [{"base": {"x": 1, "y": 1}, "one": {"x": 1, "y": 2}}]),
        ("two: {<<: [{x: 1}, {x: 2, z: 3}]}", [{"two": {"x": 1, "z": 3}}]),
        ("'<<': 1", [{"<<": 1}]),
        ("1: one\ntrue: two", [{"1": "one", "true": "two"}]),
        ("", []),
        ("# nothing\n---\n", []),
    ],
)  # fmt: skip
def test_the_forms_of_a_text(text: str, values: list[Any]) -> None:
    assert plain(text) == values


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "\n".join(
    f"b{n}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]" for n in range(10)
)


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        (BOMB, "more than 1,000,000 values", 6),
        ("a: &a [*a]", "refers to *a within itself", 1),
        ("a: *b", "refers to *b, which no anchor before it defines", 1),
        ("a: 1\nb: 2\na: 3", "has a twice, first in line 1", 3),
        ('{"a": 1,\n "a": 2}', "has a twice, first in line 1", 2),
        ("[" * 10_000, "nested too deep", 1),
        ("- " * 10_000, "nested deeper than 64", 1),
        ('{"a":' * 100 + "1" + "}" * 100, "nested deeper than 64", 1),
        ("a: !!python/object/apply:os.system [ls]", "has the tag", 1),
        ("a:\n  ? [b]\n  : c", "where the name of a member belongs", 2),
        ("a: \x07", "the character U+0007 is not allowed", 1),
        ('{"a": "\\ud800"}', "half of a surrogate pair", 1),
        ('a: "\\0"', "has a NUL", 1),
        ("a: \ud800", "half of a surrogate pair", 1),
        ("a: " + "9" * 5000, "too many digits", 1),
        ("a: 1e999", "beyond what a float holds", 1),
        ('[1,\n2}', "neither JSON nor YAML", 2),
        ("a: 'b", "is not YAML", 1),
        ("a: 1\n<<: 3", "<< takes a mapping", 2),
    ],
)  # fmt: skip
def test_bad_text_is_told_with_its_place(text: str, reason: str, line: int) -> None:
    with pytest.raises(Unreadable, match=re.escape(reason)) as error:
        reading.read(text)
    assert error.value.line == line


def test_a_member_is_found_where_its_name_stands() -> None:
    (node,) = reading.read("a:\n  b:\n  - c: 1\n    d: 2\n")
    assert node.place(("a", "b", 0, "d")) == (4, 5)
    assert node.place(("a", "b", 0, "missing")) == (3, 5)
    assert node.place(("a", "b", 7)) == (2, 3)
    (node,) = reading.read('{"a":\n {"b": 1}}')
    assert node.place(("a", "b")) == (2, 3)


def test_a_pointer_is_escaped() -> None:
    assert reading.pointer(("a/b", 0, "c~d")) == "/a~1b/0/c~0d"
