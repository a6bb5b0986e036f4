"""The difference of two JSON documents, without I/O."""

from collections.abc import Iterator, Mapping
from typing import Any

_MISSING = object()
BOOKKEEPING = frozenset({"revision", "updated_at", "updated_by", "fingerprint", "in_force"})
"""Members that every change changes, and that say nothing."""


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], ignored: frozenset[str] = BOOKKEEPING
) -> Iterator[tuple[str, Any, Any]]:
    """Pointer, old and new value of each member that differs; lists are compared place by place."""
    for name in sorted({*before, *after} - ignored):
        yield from _between(before.get(name, _MISSING), after.get(name, _MISSING), f"/{_escaped(name)}")


def _between(before: Any, after: Any, pointer: str) -> Iterator[tuple[str, Any, Any]]:
    if before is not _MISSING and after is not _MISSING and before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            yield from _between(before.get(name, _MISSING), after.get(name, _MISSING), f"{pointer}/{_escaped(name)}")
    elif isinstance(before, list) and isinstance(after, list):
        for place in range(max(len(before), len(after))):
            yield from _between(_at(before, place), _at(after, place), f"{pointer}/{place}")
    else:
        yield pointer, None if before is _MISSING else before, None if after is _MISSING else after


def _at(values: list[Any], place: int) -> Any:
    return values[place] if place < len(values) else _MISSING


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
