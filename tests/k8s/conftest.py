import pickle
from collections.abc import Callable
from functools import cache

import pytest

from checks.manifests import KubectlMissing, Manifests


@cache
def _rendered(overlay: str) -> bytes:
    return pickle.dumps(Manifests.of(overlay).resources)


@pytest.fixture
def rendered() -> Callable[[str], Manifests]:
    """An overlay's resources, to break at will."""

    def of(overlay: str) -> Manifests:
        try:
            return Manifests(pickle.loads(_rendered(overlay)), overlay)
        except KubectlMissing as missing:
            pytest.skip(str(missing))

    return of
