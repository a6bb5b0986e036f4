"""How long the phases of a search take."""

import contextlib
import time
from collections.abc import Iterator

from plumbline_search.searches.schemas import SearchTookMs


class Clock:
    """Milliseconds by phase."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._phases = dict.fromkeys(("embedding", "lexical", "vector", "documents", "highlights"), 0.0)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._phases[name] = _since(began)

    def took(self) -> SearchTookMs:
        return SearchTookMs(**self._phases, total=_since(self._began))


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
