"""When two requirements are suspected to say the same. Pure."""

from plumbline_search.text import analysis

SAME_SERVICE, ACROSS = 0.83, 0.9
"""Cosines from which on two requirements are suspected, of one service and of two. Measured in `docs/search.md`."""
WORDS = 20


def is_suspected(similarity: float, *, same_service: bool) -> bool:
    return similarity >= (SAME_SERVICE if same_service else ACROSS)


def shared_words(one: str, other: str) -> list[str]:
    """Words of `one` that `other` has in any form, in their order, at most `WORDS`."""
    theirs = set(analysis.terms(other))
    found: dict[str, str] = {}
    for word in analysis.words(one):
        spelt = word[0]
        for term in analysis.terms_of_word(spelt)[:1]:
            if term in theirs:
                found.setdefault(term, spelt.lower())
    return list(found.values())[:WORDS]
