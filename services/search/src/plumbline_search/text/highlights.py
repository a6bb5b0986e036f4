"""What of a document is shown: fragments as HTML, everything escaped, matches in `<mark>`. Pure."""

import html
import re
from collections.abc import Collection, Iterator
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


def pattern(terms: Collection[str]) -> re.Pattern[str] | None:
    """What finds words that may be one of `terms`: a quick look that `marked` and `fragments` confirm.

    A stem and its words share their beginning but for the last letter ("polici", "policy").
    """
    beginnings = sorted({re.escape(term[: max(2, len(term) - 1)]) for term in terms if term}, key=len, reverse=True)
    return re.compile("|".join(beginnings), re.IGNORECASE) if beginnings else None


def marked(text: str, terms: Collection[str], look: re.Pattern[str] | None) -> str:
    """The whole `text`."""
    return _shown(text, _matches(text, terms, look), 0, len(text))


def fragments(text: str, terms: Collection[str], look: re.Pattern[str] | None) -> list[str]:
    """The places of `text` that hold the most different terms, in its order; its beginning where none is there."""
    if len(text) <= CHARACTERS:
        return [_shown(text, _matches(text, terms, look), 0, len(text))] if text.strip() else []
    matches = _matches(text, terms, look)
    windows = _windows(text, matches) or [(0, _word_end(text, CHARACTERS))]
    return [_shown(text, matches, start, stop) for start, stop in windows]


def _matches(text: str, terms: Collection[str], look: re.Pattern[str] | None) -> list[Match]:
    if look is None or look.search(text if text.isascii() else analysis.unaccented(text)) is None:
        return []
    wanted = frozenset(terms)
    matching = ((word, _first(wanted, analysis.terms_of_word(word[0]))) for word in _promising(text, look))
    return [Match(word.start(), word.end(), term) for word, term in matching if term]


def _promising(text: str, look: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """The words that `look` may have seen, in their order: no word goes beyond white space."""
    if not text.isascii():
        yield from analysis.words(text)
        return
    for seen in re.finditer(rf"(?<!\S)\S*?(?:{look.pattern})\S*", text, re.IGNORECASE):
        yield from analysis.words(text, seen.start(), seen.end())


def _first(wanted: frozenset[str], terms: tuple[str, ...]) -> str | None:
    return next((term for term in terms if term in wanted), None)


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
