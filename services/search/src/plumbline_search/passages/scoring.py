"""Kernels of the vector leg. Pure: no I/O.

A vector of d components (a multiple of 64) is kept twice, as seen from a basis that is turned at random:

- in *bytes*, int8 with a scale of its own, for the cosine: the error is about 0.0004 at d = 384;
- in *codes*, a bit a component, for an estimate of the cosine by counting bits (RaBitQ, Gao and Long, SIGMOD 2024,
  with one bit a component of the query too). It says which passages are worth comparing.

A turn keeps inner products. It spreads what single components of a model have too much of, on which both rely.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import intrinsic

from plumbline_common.compiling import kernel

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.int8]
Words = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]

_TINY = np.float32(1e-12)


@lru_cache(maxsize=4)
def basis(dimensions: int) -> Floats:
    """An orthogonal matrix (d, d): `vectors @ basis(d)` are turned. Always the same; some seconds at d = 3,072."""
    found, _ = np.linalg.qr(np.random.default_rng(dimensions).standard_normal((dimensions, dimensions)))
    return np.ascontiguousarray(found, np.float32)


@dataclass(frozen=True)
class Query:
    """One vector, ready to be compared: `turned` (d,) with bytes, the rest with codes of one centre."""

    turned: Floats
    bits: Words
    """(d / 64,): the signs of its components, seen from the centre."""
    size: np.float32
    """How large these are, on average."""


def query(turned: Floats, centre: Floats) -> Query:
    """`turned` (d,) for codes that were made around `centre` (d,)."""
    rest = turned - centre
    return Query(turned, _packed(rest[np.newaxis] > 0)[0], np.abs(rest).mean())


def bytes_of(turned: Floats) -> tuple[Bytes, Floats]:
    """int8 (n, d), and the scale (n,) that makes them `turned` (n, d) again."""
    scales = np.maximum(np.abs(turned).max(axis=1), _TINY) / np.float32(127)
    return np.round(turned / scales[:, np.newaxis]).astype(np.int8), scales.astype(np.float32)


@dataclass(frozen=True)
class Codes:
    """Of n vectors: `bits` (n, d / 64), the signs of their components, seen from the centre; and what an estimate
    needs besides: what a sign is worth, and what the centre adds."""

    bits: Words
    worth: Floats
    lean: Floats

    @classmethod
    def empty(cls, rows: int, dimensions: int) -> "Codes":
        bits = np.empty((rows, dimensions // 64), np.uint64)
        return cls(bits, np.empty(rows, np.float32), np.empty(rows, np.float32))

    def put(self, start: int, small: Bytes, scales: Floats, centre: Floats) -> None:
        """Write the codes of the vectors in bytes from row `start` on."""
        vectors = small.astype(np.float32) * scales[:, np.newaxis]
        rest = vectors - centre
        rows = slice(start, start + len(small))
        self.bits[rows] = _packed(rest > 0)
        self.worth[rows] = (rest * rest).sum(axis=1) / np.maximum(np.abs(rest).sum(axis=1), _TINY)
        self.lean[rows] = vectors @ centre


def _packed(bits: npt.NDArray[Any]) -> Words:
    """(n, d) of 0 and 1 as (n, d / 64) words."""
    return np.packbits(bits, axis=1).view(np.uint64)


# --- What is compiled -----------------------------------------------------------------------------------


def _count(_context: Any, _word: Any) -> Any:
    """How many bits of an uint64 are set, by the processor's own instruction where it has one."""
    return types.uint64(types.uint64), lambda _c, builder, _s, arguments: builder.ctpop(arguments[0])


_bits_set: Any = intrinsic(_count)


@lru_cache(maxsize=8)
def _kernels(words: int) -> tuple[Any, Any]:
    """For codes of so many words: a loop whose length is known is unrolled, and twice as quick."""

    @kernel()
    def estimate(  # pragma: no cover
        bits: Any, worth: Any, lean: Any, rows: Any, asked: Any, size: Any, found: Any
    ) -> None:
        for place in range(len(rows)):
            row = rows[place]
            differing = np.uint64(0)
            for word in range(words):
                differing += _bits_set(bits[row, word] ^ asked[word])
            agreeing = np.float32(64 * words - 2 * np.int64(differing))
            found[place] = worth[row] * size * agreeing + lean[row]

    @kernel()
    def select(  # pragma: no cover
        bits: Any, worth: Any, lean: Any, asked: Any, size: Any, least: Any, chosen: Any
    ) -> int:
        number = 0
        for row in range(len(chosen)):
            differing = np.uint64(0)
            for word in range(words):
                differing += _bits_set(bits[row, word] ^ asked[word])
            agreeing = np.float32(64 * words - 2 * np.int64(differing))
            if worth[row] * size * agreeing + lean[row] >= least:
                chosen[number] = row
                number += 1
        return number

    return estimate, select


@kernel(in_any_order=True)
def _compare(small: Any, scales: Any, rows: Any, asked: Any, found: Any) -> None:  # pragma: no cover
    for place in range(len(rows)):
        row = rows[place]
        total = np.float32(0)
        for at in range(small.shape[1]):
            total += np.float32(small[row, at]) * asked[at]
        found[place] = total * scales[row]


def estimated(codes: Codes, rows: Rows, asked: Query) -> Floats:
    """About the cosine of the vectors at `rows` (m,), float32 (m,)."""
    found = np.empty(len(rows), np.float32)
    estimate, _ = _kernels(codes.bits.shape[1])
    estimate(codes.bits, codes.worth, codes.lean, rows, asked.bits, asked.size, found)
    return found


def promising(codes: Codes, asked: Query, least: float, chosen: Rows) -> Rows:
    """Those of the first `len(chosen)` vectors whose estimate is at least `least`, in `chosen`: 0.4 ms for 100,000 at
    d = 384."""
    _, select = _kernels(codes.bits.shape[1])
    number = select(codes.bits, codes.worth, codes.lean, asked.bits, asked.size, np.float32(least), chosen)
    return chosen[:number]


def compared(small: Bytes, scales: Floats, rows: Rows, turned: Floats) -> Floats:
    """The cosine of the vectors at `rows` (m,), float32 (m,)."""
    found = np.empty(len(rows), np.float32)
    _compare(small, scales, rows, turned, found)
    return found


def compile_all(dimensions: int) -> None:
    """Beforehand, so that no query waits for it."""
    turned = np.zeros(dimensions, np.float32)
    codes = Codes.empty(1, dimensions)
    small, scales = bytes_of(turned[np.newaxis])
    codes.put(0, small, scales, turned)
    row = np.zeros(1, np.int64)
    estimated(codes, row, query(turned, turned))
    promising(codes, query(turned, turned), 0.0, row)
    compared(small, scales, row, turned)
    basis(dimensions)
