"""Whether a text holds what a saved search asks for. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self
from uuid import UUID

from plumbline_search.searches.filters import Filter
from plumbline_search.text import analysis
from plumbline_search.text.question import Question


@dataclass(frozen=True)
class Wanted:
    """A saved search as documents are held against it."""

    id: UUID
    name: str
    team: str
    since: int
    question: Question | None
    condition: Filter | None


@dataclass(frozen=True)
class Text:
    whole: str
    terms: frozenset[str]

    @classmethod
    def of(cls, key: str | None, title: str, body: str) -> Self:
        whole = f"{key or ''}\n{title}\n{body}"
        return cls(whole, frozenset(analysis.terms(whole)))


def holds(text: Text, question: Question | None) -> bool:
    """Whether every word is there in any form, every phrase as it stands, a word for each beginning, and nothing
    that is excluded."""
    if question is None:
        return True
    begun = set(question.beginnings)
    words = [word[0] for word in analysis.words(question.words) if word[0].lower() not in begun]
    return (
        all(_is_there(text, analysis.terms_of_word(word)) for word in words)
        and all(_stands(text, phrase) for phrase in question.phrases)
        and all(any(term.startswith(start) for term in text.terms) for start in begun)
        and not any(_stands(text, phrase) for phrase in question.excluded)
    )


def _is_there(text: Text, terms: Sequence[str]) -> bool:
    """An identifier is there whole, or all its parts are."""
    return not terms or terms[0] in text.terms or (len(terms) > 1 and text.terms.issuperset(terms[1:]))


def _stands(text: Text, phrase: str) -> bool:
    words = re.findall(r"[^\W_]+", phrase)
    if len(words) == 1:
        return _is_there(text, analysis.terms_of_word(phrase.strip()))
    return bool(words) and _pattern(tuple(words)).search(text.whole) is not None


@lru_cache(maxsize=1_000)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(r"(?<![^\W_])" + r"[\W_]+".join(map(re.escape, words)) + r"(?![^\W_])", re.IGNORECASE)
