"""A text in passages that the model can read whole: what a vector is made of. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

CHARACTERS = 1_200
"""Of one passage: about 200 words, within the model's 256 tokens."""
LONGEST = 1_600
"""What is no longer stays whole: two halves say less than one beginning (measured in `docs/search.md`)."""
MOST = 400
"""Passages of one document."""

_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_FENCE = re.compile(r"^(```|~~~)", re.MULTILINE)
# Where a passage may end, the best first: a paragraph, a line, a sentence, a word.
_ENDS = (re.compile(r"\n[ \t]*\n"), re.compile(r"\n"), re.compile(r"(?<=[.!?])\s"), re.compile(r"\s"))


@dataclass(frozen=True)
class Passage:
    """`text[start:stop]` of a body; `heading` is the path of the Markdown headings above it."""

    start: int
    stop: int
    heading: str = ""


def of_body(body: str, *, markdown: bool = False) -> list[Passage]:
    """The passages of `body` in its order; together they cover it. At least one, at most `MOST`."""
    sections = _sections(body) if markdown else [Passage(0, len(body))]
    found = [part for section in sections for part in _parts(body, section)]
    return found[:MOST] or [Passage(0, 0)]


def _sections(body: str) -> Iterator[Passage]:
    """From each heading to the next; a `#` inside a code fence is none."""
    path: list[tuple[int, str]] = []
    start, heading = 0, ""
    fences = [match.start() for match in _FENCE.finditer(body)]
    for match in _HEADING.finditer(body):
        if sum(1 for fence in fences if fence < match.start()) % 2:
            continue
        if body[start : match.start()].strip():
            yield Passage(start, match.start(), heading)
        depth = len(match[0]) - len(match[0].lstrip("#"))
        path = [*(above for above in path if above[0] < depth), (depth, match[1])]
        start, heading = match.start(), " › ".join(title for _, title in path)
    if body[start:].strip():
        yield Passage(start, len(body), heading)


def _parts(body: str, section: Passage) -> Iterator[Passage]:
    start = section.start
    while section.stop - start > LONGEST:
        stop = _end(body, start)
        yield Passage(start, stop, section.heading)
        start = stop
    if start < section.stop:
        yield Passage(start, section.stop, section.heading)


def _end(body: str, start: int) -> int:
    """The last good place to end in the second half of what fits."""
    for end in _ENDS:
        found = None
        for found in end.finditer(body, start + CHARACTERS // 2, start + CHARACTERS):  # noqa: B007 - the last is wanted
            pass
        if found is not None:
            return found.end()
    return start + CHARACTERS
