import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_search.text import question
from plumbline_search.text.question import Question


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("checkout slow", Question("checkout slow")),
        ('slow "front  door" now', Question("slow front door now", phrases=("front door",))),
        ("slow -checkout", Question("slow", excluded=("checkout",))),
        ('slow -"front door"', Question("slow", excluded=("front door",))),
        ("check* slow", Question("check slow", beginnings=("check",))),
        ("-KubePodCrashLooping -p99", Question("-p99", excluded=("KubePodCrashLooping",))),
        ("kubectl get pods -n monitoring", Question("kubectl get pods -n monitoring")),
        ("rm -rf /var --force", Question("rm -rf /var --force")),
        ("well-known don't-panic 5-10", Question("well-known don't-panic 5-10")),
        ('a lone " quote', Question('a lone " quote')),
        ('"" and "!"', Question('"" and "!"')),
        ('a "b', Question('a "b')),
        ("2 * 3 ** x*y c*d*", Question("2 * 3 ** x*y c*d*")),
        ("a & | ! <-> ( ) :* \\", Question("a & | ! <-> ( ) :* \\")),
    ],
)
def test_what_is_asked_for(text: str, asked: Question) -> None:
    assert question.parsed(text) == asked


@given(st.text(max_size=200))
def test_any_text_can_be_asked(text: str) -> None:
    asked = question.parsed(text)
    assert set(asked.words) - {" "} <= set(text)
    for phrase in (*asked.phrases, *asked.excluded):
        pattern = question.pattern(phrase)
        assert pattern is None or set(re.sub(r"\\m|\\M|\[\\W_\]\+", "", pattern)) <= set(phrase)


def test_the_pattern_of_a_phrase_has_its_words_and_what_may_stand_between() -> None:
    assert question.pattern("front door!") == r"\mfront[\W_]+door\M"
    assert question.pattern("...") is None
