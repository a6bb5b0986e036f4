"""How two legs become one ranking. Pure numpy."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

RRF_K = 60
LEADER = 0.3
"""What likeness to the best document counts beside likeness to the query: relevant documents are alike (the cluster
hypothesis, van Rijsbergen 1979). Measured in `docs/search.md`."""
RECENT = 0.02
"""What a document of today has over one that was never changed; half of it after `HALF_LIFE_DAYS`."""
HALF_LIFE_DAYS = 90.0
STATES = {
    "active": 0.02,
    "open": 0.02,
    "acknowledged": 0.02,
    "approved": 0.01,
    "deprecated": -0.02,
    "rejected": -0.03,
    "retired": -0.03,
    "false_positive": -0.03,
}
"""What a state adds to a score, which is at most 1: it decides between equals, and no more."""

Scores = npt.NDArray[np.float64]
"""float64 (n,), one for each candidate."""


def by_scores(
    lexical: Scores, vector: Scores, like: Callable[[int], npt.NDArray[Any]] | None, lexical_weight: float
) -> tuple[Scores, Scores]:
    """What each leg adds: its scores scaled to [0, 1] over the candidates (min-max) and weighed.

    `lexical` is 0 where no word is there. `like(i)` tells each one's cosine with candidate i: likeness to the best
    counts; None leaves it out. Both legs' scores of every candidate are known: one that a leg did not bring
    is not taken for one that does not match.
    """
    words: Scores = lexical_weight * scaled(lexical)
    meaning: Scores = (1 - lexical_weight) * scaled(vector)
    if like is None or not len(words):
        return words, meaning
    likeness = like(int(np.argmax(words + meaning))).astype(np.float64)
    closer: Scores = (1 - lexical_weight) * scaled(vector + LEADER * likeness)
    return words, closer


def by_ranks(lexical: Scores, vector: Scores, lexical_weight: float) -> tuple[Scores, Scores]:
    """What each leg adds by reciprocal rank fusion (Cormack et al. 2009), scaled so that the first of both has 1.

    `lexical` and `vector` are ranks from 1, NaN where a leg did not bring the candidate.
    """
    words, meaning = (np.nan_to_num((RRF_K + 1) / (RRF_K + ranks)) for ranks in (lexical, vector))
    return lexical_weight * words, (1 - lexical_weight) * meaning


def scaled(scores: Scores) -> Scores:
    """The lowest becomes 0 and the highest 1; where all are equal, all become 0."""
    if not len(scores):
        return scores
    low, high = scores.min(), scores.max()
    found: Scores = (scores - low) / (high - low) if high > low else np.zeros_like(scores)
    return found


def recency(updated_at: Sequence[datetime], now: datetime) -> Scores:
    """What age, in whole days, adds to each score; between 0 and 0.02."""
    days = np.array([max(0, (now - moment).days) for moment in updated_at])
    added: Scores = RECENT * 0.5 ** (days / HALF_LIFE_DAYS)
    return added


def standing(states: Sequence[str | None]) -> Scores:
    """What the state adds to each score; between -0.03 and 0.02."""
    return np.array([STATES.get(state or "", 0.0) for state in states], np.float64)
