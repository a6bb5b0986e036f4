"""One instruction that Numba has no word for: bring memory nearer before it is needed."""

from collections.abc import Callable
from typing import Any, cast

import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _prefetch(_context: Any, array: Any, index: Any, offset: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        held = context.make_array(signature.args[0])(context, builder, arguments[0])
        row = builder.bitcast(builder.gep(held.data, [arguments[1]]), ir.IntType(8).as_pointer())
        where = builder.gep(row, [arguments[2]])
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [where.type, number, number, number])
        get: Any = cgutils.get_or_insert_function
        # To write, to be kept in all caches, data.
        builder.call(get(builder.module, kind, "llvm.prefetch.p0i8"), [where, number(1), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, index, offset), generate


prefetch = cast("Callable[[npt.NDArray[Any], int, int], None]", intrinsic(_prefetch))
"""Ask the processor for the memory of a C-contiguous array at a flat index and so many bytes beyond, without waiting.
In kernels only."""
