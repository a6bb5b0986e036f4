"""How two legs become one ranking, and what of a document may be shown. Pure."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

ENOUGH = 3
"""A leg with fewer hits says too little by its scores: then the ranks decide."""
RRF_K = 60

START, STOP = "\ue000", "\ue001"
"""Around a match, inside PostgreSQL: private-use characters that no document keeps (see `storable`)."""

_UNSTORABLE = re.compile(f"[\x00{START}{STOP}\ud800-\udfff]")


@dataclass(frozen=True)
class Scored:
    """A document that one leg found. Higher is better; scores of two legs have nothing in common."""

    id: int
    score: float


@dataclass(frozen=True)
class Fused:
    """A document of the joined ranking. `lexical` and `vector` are the legs' own scores, None where not found."""

    id: int
    score: float
    lexical: float | None
    vector: float | None


def fuse(lexical: Sequence[Scored], vector: Sequence[Scored]) -> list[Fused]:
    """Every document of both legs, the best first. Scores are in [0, 1]; equal ones stand by id, the newest first.

    Each leg's scores are scaled to [0, 1] and weigh one half (min-max, measured as the best of the simple fusions).
    Where a leg has fewer than `ENOUGH` hits: reciprocal rank fusion (Cormack et al. 2009), scaled so that the first
    of both legs has 1. A document that a leg did not find has 0 of it.
    """
    part = _scaled if min(len(lexical), len(vector)) >= ENOUGH else _reciprocal
    by_words, by_meaning = part(lexical), part(vector)
    words = {hit.id: hit.score for hit in lexical}
    meaning = {hit.id: hit.score for hit in vector}
    fused = [
        Fused(
            id,
            (by_words.get(id, 0.0) + by_meaning.get(id, 0.0)) / 2,
            words.get(id),
            meaning.get(id),
        )
        for id in words.keys() | meaning.keys()
    ]
    return sorted(fused, key=lambda hit: (-hit.score, -hit.id))


def _scaled(hits: Sequence[Scored]) -> dict[int, float]:
    low, high = min(hit.score for hit in hits), max(hit.score for hit in hits)
    if low == high:
        return {hit.id: 1.0 for hit in hits}
    return {hit.id: (hit.score - low) / (high - low) for hit in hits}


def _reciprocal(hits: Sequence[Scored]) -> dict[int, float]:
    """(k + 1) / (k + rank); equal scores have the same rank."""
    parts: dict[int, float] = {}
    rank, before = 0, None
    for place, hit in enumerate(sorted(hits, key=lambda hit: -hit.score), 1):
        if hit.score != before:
            rank, before = place, hit.score
        parts[hit.id] = (RRF_K + 1) / (RRF_K + rank)
    return parts


def storable(text: str) -> str:
    """`text` without the characters that PostgreSQL cannot store and those that mark a match."""
    return _UNSTORABLE.sub(" ", text)


def shown(headline: str) -> str:
    """PostgreSQL's headline as HTML: everything escaped, matches in `<mark>`. Safe to put into a page."""
    return html.escape(headline).replace(START, "<mark>").replace(STOP, "</mark>")
