import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_search.text import analysis, highlights


def fragments(text: str, query: str) -> list[str]:
    terms = set(analysis.terms(query))
    return highlights.fragments(text, highlights.Look(terms))


@pytest.mark.parametrize(
    ("text", "query", "shown"),
    [
        ("Payments failed.", "payment fails", "<mark>Payments</mark> <mark>failed</mark>."),
        ("KubePodCrashLooping fires", "crash", "<mark>KubePodCrashLooping</mark> fires"),
        ("the policy of policies", "policies", "the <mark>policy</mark> of <mark>policies</mark>"),
        ("Le café est fermé", "cafe", "Le <mark>café</mark> est fermé"),
        ("nothing here", "elsewhere", "nothing here"),
        ("a < b & c", "the of", "a &lt; b &amp; c"),
        ("<script>alert('x')</script>", "alert", "&lt;script&gt;<mark>alert</mark>(&#x27;x&#x27;)&lt;/script&gt;"),
    ],
)
def test_what_matches_is_marked(text: str, query: str, shown: str) -> None:
    assert fragments(text, query) == [shown]
    terms = set(analysis.terms(query))
    assert highlights.marked(text, highlights.Look(terms)) == shown


def test_of_a_long_text_the_places_with_most_terms_are_shown() -> None:
    text = "slow " + "word " * 200 + "the slow checkout was slow " + "word " * 200
    found = fragments(text, "slow checkout")
    assert any("<mark>slow</mark> <mark>checkout</mark> was <mark>slow</mark>" in fragment for fragment in found)
    assert len(found) <= highlights.MOST
    assert all(len(fragment) < 400 for fragment in found)


def test_without_a_match_the_beginning_is_shown() -> None:
    for query in ("elsewhere", "the of"):
        (found,) = fragments("The beginning. " + "word " * 200, query)
        assert found.startswith("The beginning.")
        assert len(found) < 300


def test_a_text_of_nothing_shows_nothing() -> None:
    assert fragments(" \n", "x") == []


@given(st.text(max_size=2000), st.text(max_size=40))
def test_what_is_shown_holds_no_tag_but_the_marks(text: str, query: str) -> None:
    terms = set(analysis.terms(query))
    whole = highlights.marked(text, highlights.Look(terms))
    assert html.unescape(re.sub("</?mark>", "", whole)).split() == text.split()
    for shown in [whole, *fragments(text, query)]:
        assert set(re.findall(r"<[^>]*>?", shown)) <= {"<mark>", "</mark>"}


@given(st.lists(st.sampled_from(["slow", "Checkout", "p99_latency_ms", "policies", "of", "-"]), max_size=400))
def test_every_word_of_the_query_that_is_shown_is_marked(words: list[str]) -> None:
    for shown in fragments(" ".join(words), "slow policy latency"):
        plain = re.sub("<mark>.*?</mark>", "", shown)
        assert not re.search("slow|p99_latency_ms|policies", plain)


words_and_spaces = st.lists(
    st.sampled_from(
        ["slow", "Checkout", "p99_latency_ms", "policies", "KubePodCrashLooping", "-", " ", "\n", "/", "é"]
    ),
    max_size=60,
).map("".join)


@given(words_and_spaces, st.sampled_from(["slow policy latency", "pod", "checkout", "elsewhere"]))
def test_a_look_misses_no_word(text: str, query: str) -> None:
    terms = frozenset(analysis.terms(query))
    every = [
        (word.start(), word.end())
        for word in analysis.words(text)
        if not terms.isdisjoint(analysis.terms_of_word(word[0]))
    ]
    found = highlights.Look(terms).matches(text)
    assert [(match.start, match.stop) for match in found] == every
