"""How kernels are compiled."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function by Numba, without the interpreter's lock. A division by 0 gives what NumPy gives.

    What was compiled is kept beside the program, or in NUMBA_CACHE_DIR; where neither can be written, each start
    takes some seconds.
    """
    try:
        return cast("Function", numba.njit(nogil=True, cache=True, error_model="numpy")(function))
    except RuntimeError:
        return cast("Function", numba.njit(nogil=True, cache=False, error_model="numpy")(function))
