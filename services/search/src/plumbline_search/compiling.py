"""How kernels are compiled."""

from collections.abc import Callable
from typing import Any

import numba


def kernel(*, in_any_order: bool = False) -> Callable[[Any], Any]:
    """Compile a function by Numba, without the interpreter's lock.

    `in_any_order` lets sums be taken in another order, several terms at once: the last digits may then differ.
    What was compiled is kept beside the program, or in NUMBA_CACHE_DIR; where neither can be written, each start
    takes some seconds.
    """
    fastmath = {"contract", "reassoc", "nsz"} if in_any_order else False

    def compiled(function: Any) -> Any:
        try:
            return numba.njit(nogil=True, fastmath=fastmath, cache=True)(function)
        except RuntimeError:
            return numba.njit(nogil=True, fastmath=fastmath, cache=False)(function)

    return compiled
