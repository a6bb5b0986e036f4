"""A state as bytes: one for the version, then JSON, deflated.

orjson, for whoever holds the interpreter's lock holds up the event loop: the largest state, 6.5 MB, takes it 50 ms.
"""

import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import orjson

T = TypeVar("T")


def packed(version: int, state: dict[str, Any]) -> bytes:
    """`version` is at most 255."""
    return bytes([version]) + zlib.compress(orjson.dumps(state), 1)


def unpacked(data: bytes, version: int, whose: str, load: Callable[[dict[str, Any]], T]) -> T:
    """What `load` makes of the state. Raises `ValueError` for another version or a broken state of `whose`."""
    if data[:1] != bytes([version]):
        raise ValueError(f"not {whose}'s state of version {version}")
    try:
        return load(orjson.loads(zlib.decompress(data[1:])))
    except (zlib.error, KeyError, TypeError, UnicodeError) as error:
        raise ValueError(f"a broken state of {whose}") from error
