"""How kernels are compiled. Whoever has some depends on `plumbline-common[kernels]`."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(*, in_any_order: bool = False) -> Callable[[Function], Function]:
    """Compile a function by Numba, without the interpreter's lock. A division by 0 gives what NumPy gives.

    `in_any_order` lets sums be taken in another order, several terms at once: the last digits may then differ.
    What was compiled is kept beside the program, or in NUMBA_CACHE_DIR; where neither can be written, each start
    takes some seconds.
    """
    fastmath = {"contract", "reassoc", "nsz"} if in_any_order else False

    def compiled(function: Function) -> Function:
        def by(*, cache: bool) -> Function:
            return cast(
                "Function", numba.njit(nogil=True, error_model="numpy", fastmath=fastmath, cache=cache)(function)
            )

        try:
            return by(cache=True)
        except RuntimeError:
            return by(cache=False)

    return compiled
