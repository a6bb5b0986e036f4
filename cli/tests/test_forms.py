from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline_cli import forms, merging

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40) | st.sampled_from(
    [
        "yes",
        "off",
        "null",
        "~",
        "1e3",
        "0x1F",
        "12:30",
        "2026-01-01",
        "1.10",
        "=",
        "<<",
        "a: b",
        "# a",
        "a\n\nb\n",
        "- a",
    ]
)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**62), 2**62)
values = st.recursive(
    st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
contents = st.fixed_dictionaries(
    {
        "title": texts,
        "description": texts,
        "service": texts,
        "labels": st.dictionaries(texts, texts, max_size=3),
        "slos": st.lists(st.dictionaries(texts, values, max_size=3), max_size=2),
    }
).map(merging.normal)


@settings(max_examples=40, deadline=None)
@given(contents)
def test_a_form_says_what_the_content_says(content: dict[str, Any]) -> None:
    text = forms.render(content, "REQ-1", 3)
    assert merging.same(merging.normal(forms.parse(text)), content)
    assert forms.written_for(text) == ("REQ-1", 3)


@settings(max_examples=40, deadline=None)
@given(contents, contents, contents)
def test_a_form_with_conflicts_says_the_same_and_marks_each(
    base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    merged = merging.merge(base, mine, theirs)
    text = forms.render(merged.content, "REQ-1", 3, (), merged.conflicts)
    assert merging.same(merging.normal(forms.parse(text)), merged.content)
    assert len(forms.unsettled(text)) == len(merged.conflicts)


def test_long_text_is_a_block_to_write_in() -> None:
    text = forms.render({"title": "A", "description": "One line.\n\nAnother: line.\n"}, "REQ-1", 1)
    assert "description: |\n  One line.\n\n  Another: line.\n" in text


def test_members_of_text_are_text_however_they_look() -> None:
    content = forms.parse("title: 42\nservice: yes\nlabels: {version: 1.10, since: 2026-01-01, on: true}")
    assert content == {
        "title": "42",
        "service": "yes",
        "labels": {"version": "1.10", "since": "2026-01-01", "on": "true"},
    }
    assert forms.load("slos: [{target: 0.9, on: true, n: 3, e: 1e-3, none: null}]") == [
        {"slos": [{"target": 0.9, "on": True, "n": 3, "e": 0.001, "none": None}]}
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("title: [", "line 2, column 1: is not YAML"),
        ("title: a\ntitle: b", "line 2, column 1: has title twice, first in line 1"),
        ("titel: a", "no such member: titel"),
        ("- a", "not one mapping"),
        ("title: a\n---\ntitle: b", "not one mapping"),
        ("title: &a [*a]", "refers to .a within itself"),
        ("title: !!python/object:os.system {}", "has the tag"),
        ("title: \x01", "not YAML"),
        ("[" * 5000, "nested too deep"),
    ],
)
def test_what_is_no_form_says_why(text: str, reason: str) -> None:
    with pytest.raises(forms.NotAForm, match=reason):
        forms.parse(text)


def test_a_new_complaint_takes_the_place_of_the_old_one() -> None:
    text = forms.complain("#mine\ntitle: a\n", ["one\ntwo"])
    assert text == "#! one\n#! two\n#mine\ntitle: a\n"
    assert forms.complain(text, ["three"]) == "#! three\n#mine\ntitle: a\n"


def test_comments_alone_are_an_empty_form() -> None:
    assert forms.is_empty("# a\n\n  \n#b")
    assert not forms.is_empty("# a\ntitle: b")


def test_what_people_do_not_edit_is_not_in_the_form() -> None:
    content = forms.editable({"id": "x", "status": "draft", "title": "A", "slos": [{"name": "a", "op": None}]})
    assert content == merging.EMPTY | {"title": "A", "slos": [{"name": "a"}]}
