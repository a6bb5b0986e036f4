"""How kernels are compiled. Whoever has some depends on `plumbline-common[kernels]`."""

import functools
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


# Numba leaves it off: neighbouring numbers of a record are then taken several at a time, as loops already are.
numba.config.SLP_VECTORIZE = 1  # type: ignore[attr-defined]


def kernel(*, in_any_order: bool = False, inlined: bool = False) -> Callable[[Function], Function]:
    """Compile a function by Numba, without the interpreter's lock. A division by 0 gives what NumPy gives.

    `in_any_order` lets sums be taken in another order, several terms at once: the last digits may then differ.
    `inlined` puts the body where it is called, however long it is.
    What was compiled is kept beside the program, or in NUMBA_CACHE_DIR; where neither can be written, each start
    compiles anew, for a minute or two.
    """
    _take_over(os.environ.get("PLUMBLINE_KERNELS"), os.environ.get("NUMBA_CACHE_DIR"))
    fastmath = {"contract", "reassoc", "nsz"} if in_any_order else False

    def compiled(function: Function) -> Function:
        def by(*, cache: bool) -> Function:
            return cast(
                "Function",
                numba.njit(nogil=True, error_model="numpy", fastmath=fastmath, forceinline=inlined, cache=cache)(
                    function
                ),
            )

        try:
            return by(cache=True)
        except RuntimeError:
            return by(cache=False)

    return compiled


@functools.cache
def _take_over(compiled: str | None, cache: str | None) -> None:
    """Begin with what was `compiled` when an image was built: Numba reads from no folder that it cannot write to."""
    if not compiled or not cache or not Path(compiled).is_dir() or Path(cache).exists():
        return
    copy = Path(tempfile.mkdtemp(prefix="kernels-", dir=Path(cache).parent))
    shutil.copytree(compiled, copy, dirs_exist_ok=True)
    try:
        copy.rename(cache)
    except OSError:  # another process was first
        shutil.rmtree(copy)
