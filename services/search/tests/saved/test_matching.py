import pytest

from plumbline_search.saved.matching import Text, holds
from plumbline_search.text import question

TEXT = Text.of(
    "REQ-42", "Checkout answers fast", 'When KubePodCrashLooping fires, the "front door" answers HTTP 503.'
)


@pytest.mark.parametrize(
    "asked",
    [
        "checkout",
        "answering checkouts",
        "the checkout is fast",
        "REQ-42",
        "KubePodCrashLooping",
        "kube pod crash",
        "crash-looping",
        '"front door"',
        '"Front, door" checkout',
        "check*",
        "checkout -payments",
        'checkout -"door front"',
        "what is it",
    ],
)
def test_a_text_holds_every_word_in_any_form(asked: str) -> None:
    assert holds(TEXT, question.parsed(asked))


@pytest.mark.parametrize(
    "asked",
    ["payments", "checkout payments", "REQ-43", '"door front"', "pay*", "checkout -answers", 'fast -"front door"'],
)
def test_a_text_lacks_a_word_or_holds_what_is_excluded(asked: str) -> None:
    assert not holds(TEXT, question.parsed(asked))


def test_no_question_is_held_by_every_text() -> None:
    assert holds(TEXT, None)
