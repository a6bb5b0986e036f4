import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_search.text import analysis


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Payments are failing", ["payment", "fail"]),
        ("KubePodCrashLooping", ["kubepodcrashlooping", "kube", "pod", "crash", "loop"]),
        ("p99_latency_ms", ["p99_latency_ms", "p", "99", "latenc", "ms"]),
        ("HTTP 503", ["http", "503"]),
        ("REQ-42", ["req-42", "req", "42"]),
        ("http.server.request.duration", ["http.server.request.duration", "http", "server", "request", "durat"]),
        ("HTTPServer2", ["httpserver2", "http", "server", "2"]),
        ("high-speed read/write", ["high", "speed", "read", "write"]),
        ("checkout's don't", ["checkout", "don"]),
        ("The host is down", ["host", "down"]),
        ("Café NAÏVE", ["cafe", "naiv"]),
        ("the and of", []),
        ("نص من", ["نص", "من"]),
        ("!!! 🔥 & | <->", []),
    ],
)
def test_what_a_text_is_found_by(text: str, terms: list[str]) -> None:
    assert analysis.terms(text) == terms


@given(st.text())
def test_case_makes_no_difference_to_plain_words(text: str) -> None:
    plain = " ".join(word for word in text.split() if word.isascii() and word.isalpha()).lower()
    assert analysis.terms(plain.upper()) == analysis.terms(plain)


@given(st.text(max_size=300))
def test_any_text_has_terms_of_bounded_length(text: str) -> None:
    for term in analysis.terms(text + "x" * 200):
        assert 0 < len(term) <= analysis.LONGEST + 2
        assert -(2**63) <= analysis.term_id(term) < 2**63


@given(st.text(alphabet="abcXYZ019._- ", max_size=60))
def test_each_part_of_an_identifier_is_found_by_itself(text: str) -> None:
    whole = set(analysis.terms(text))
    for part in re.split("[ ._-]", text):
        if part.isalpha() and part.islower():
            assert set(analysis.terms(part)) <= whole
