import copy
from collections.abc import Callable
from functools import cache

import pytest

from checks.manifests import KubectlMissing, Manifests


@cache
def _rendered(overlay: str) -> Manifests:
    return Manifests.of(overlay)


@pytest.fixture
def rendered() -> Callable[[str], Manifests]:
    """An overlay's resources, to break at will."""

    def of(overlay: str) -> Manifests:
        try:
            whole = _rendered(overlay)
        except KubectlMissing as missing:
            pytest.skip(str(missing))
        return Manifests(copy.deepcopy(whole.resources), overlay)

    return of
