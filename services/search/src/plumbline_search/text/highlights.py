"""What of a document is shown: fragments as HTML, everything escaped, matches in `<mark>`. Pure."""

import html
import re
from collections.abc import Iterable
from typing import NamedTuple

from plumbline_search.text import analysis

CHARACTERS = 240
"""Of a fragment, about."""
MOST = 2
"""Fragments of one text."""


class Match(NamedTuple):
    start: int
    stop: int
    term: str


class Look:
    """For `terms` in many texts."""

    def __init__(self, terms: Iterable[str]) -> None:
        self._terms = frozenset(terms)
        self._known: dict[str, str | None] = {}

    def matches(self, text: str) -> list[Match]:
        """The words of `text` that one of the terms finds, in its order."""
        found: list[Match] = []
        if not self._terms:
            return found
        known = self._known
        for word in analysis.words(text):
            said = word[0]
            term = known[said] if said in known else self._learn(said)
            if term is not None:
                found.append(Match(word.start(), word.end(), term))
        return found

    def _learn(self, word: str) -> str | None:
        term = next((term for term in analysis.terms_of_word(word) if term in self._terms), None)
        self._known[word] = term
        return term


def marked(text: str, look: Look) -> str:
    """The whole `text`."""
    return _shown(text, look.matches(text), 0, len(text))


def fragments(text: str, look: Look) -> list[str]:
    """The places of `text` that hold the most different terms, in its order; its beginning where none is there."""
    if len(text) <= CHARACTERS:
        return [_shown(text, look.matches(text), 0, len(text))] if text.strip() else []
    matches = look.matches(text)
    windows = _windows(text, matches) or [(0, _word_end(text, CHARACTERS))]
    return [_shown(text, matches, start, stop) for start, stop in windows]


def _windows(text: str, matches: list[Match]) -> list[tuple[int, int]]:
    """Of each window that begins at a match the worth is its different terms, then its matches."""
    ranked = sorted(range(len(matches)), key=lambda at: _worth(matches, at), reverse=True)
    chosen: list[tuple[int, int]] = []
    for at in ranked:
        start = _word_start(text, matches[at].start - CHARACTERS // 6)
        stop = _word_end(text, start + CHARACTERS)
        if all(stop <= other[0] or start >= other[1] for other in chosen):
            chosen.append((start, stop))
        if len(chosen) == MOST:
            break
    return sorted(chosen)


def _worth(matches: list[Match], at: int) -> tuple[int, int, int]:
    limit = matches[at].start + CHARACTERS * 5 // 6
    inside = [match.term for match in matches[at : at + 50] if match.stop <= limit]
    return len(set(inside)), len(inside), -at


def _word_start(text: str, at: int) -> int:
    if at <= 0:
        return 0
    space = re.compile(r"\s").search(text, at, at + 40)
    return space.end() if space else at


def _word_end(text: str, at: int) -> int:
    if at >= len(text):
        return len(text)
    space = re.compile(r"\s").search(text, at, at + 40)
    return space.start() if space else at


def _shown(text: str, matches: list[Match], start: int, stop: int) -> str:
    shown, at = [], start
    for match in matches:
        if match.start >= start and match.stop <= stop:
            shown += [
                html.escape(text[at : match.start]),
                f"<mark>{html.escape(text[match.start : match.stop])}</mark>",
            ]
            at = match.stop
    return "".join([*shown, html.escape(text[at:stop])]).strip()
