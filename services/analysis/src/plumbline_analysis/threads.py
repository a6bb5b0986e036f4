"""Work in proportion to the size of a request: at once where it is little, on a thread where it is much."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from plumbline_common import offload

P = ParamSpec("P")
T = TypeVar("T")

SMALL = 5_000
"""So many points are worked through in about 10 ms."""


async def sized(points: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`work(*args)`, which takes time in proportion to `points`."""
    if points <= SMALL:
        return work(*args, **kwargs)
    return await offload.in_thread(work, *args, **kwargs)
