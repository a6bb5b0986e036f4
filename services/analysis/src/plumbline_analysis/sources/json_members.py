"""Members of OTLP's JSON encoding: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding.

Absent and null are the default, as in protobuf. What is of a wrong type raises `Undecodable` with a JSON pointer.
"""

import math
from collections.abc import Iterator
from typing import Any, TypeVar

from plumbline_analysis.sources import otlp
from plumbline_analysis.sources.batch import Undecodable
from plumbline_common.errors import TooLarge

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MAX_DEPTH = 16
T = TypeVar("T")


def wrong(at: str, expected: str) -> Undecodable:
    return Undecodable(f"expected {expected}", pointer=at)


def member(parent: dict[str, Any], name: str, at: str, kind: type[T]) -> tuple[str, T]:
    value = parent.get(name)
    if value is None:
        value = kind()
    if not isinstance(value, kind):
        raise wrong(f"{at}/{name}", {"dict": "an object", "str": "a string", "bool": "a boolean"}[kind.__name__])
    return f"{at}/{name}", value


def array(parent: dict[str, Any], name: str, at: str) -> list[Any]:
    value = parent.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong(f"{at}/{name}", "an array")
    return value


def objects(parent: dict[str, Any], name: str, at: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    if len(values := array(parent, name, at)) > otlp.MAX_POINTS:
        raise TooLarge(f"an array holds more than {otlp.MAX_POINTS} objects: send smaller batches")
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise wrong(f"{at}/{name}/{index}", "an object")
        found.append((f"{at}/{name}/{index}", value))
    return found


def as_integer(value: Any, at: str, least: int, most: int) -> int:
    as_text = isinstance(value, str) and len(value) <= 20 and value.isascii() and value.removeprefix("-").isdecimal()
    if as_text or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise wrong(at, f"an integer from {least} to {most}")
    return value


def integer(parent: dict[str, Any], name: str, at: str, least: int, most: int) -> int:
    value = parent.get(name)
    return 0 if value is None else as_integer(value, f"{at}/{name}", least, most)


def as_number(value: Any, at: str) -> float:
    if isinstance(value, str):
        if value in _WORDS:
            return _WORDS[value]
        try:
            return float(value) if len(value) <= 40 and value.isascii() else _fail(at)
        except ValueError:
            return _fail(at)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _fail(at)
    return float(value)


def _fail(at: str) -> float:
    raise wrong(at, "a number")


def number(parent: dict[str, Any], name: str, at: str) -> float:
    """NaN where absent."""
    value = parent.get(name)
    return math.nan if value is None else as_number(value, f"{at}/{name}")


def pairs(parent: dict[str, Any], name: str, at: str) -> list[tuple[str, str]]:
    """Attributes as text, as `otlp.pairs` has them."""
    return [(key, otlp.text(value)) for key, value in _key_values(parent, name, at, 0)]


def _key_values(parent: dict[str, Any], name: str, at: str, depth: int) -> Iterator[tuple[str, Any]]:
    for pair_at, pair in objects(parent, name, at):
        value_at, value = member(pair, "value", pair_at, dict)
        yield member(pair, "key", pair_at, str)[1], any_value(value, value_at, depth)


def any_value(value: dict[str, Any], at: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise Undecodable("the value is nested too deeply", pointer=at)
    if "stringValue" in value:
        return member(value, "stringValue", at, str)[1]
    if "boolValue" in value:
        return member(value, "boolValue", at, bool)[1]
    if "intValue" in value:
        return integer(value, "intValue", at, -(2**63), 2**63 - 1)
    if "doubleValue" in value:
        return number(value, "doubleValue", at)
    if "bytesValue" in value:
        return member(value, "bytesValue", at, str)[1]
    if "arrayValue" in value:
        inner_at, inner = member(value, "arrayValue", at, dict)
        return [any_value(each, each_at, depth + 1) for each_at, each in objects(inner, "values", inner_at)]
    if "kvlistValue" in value:
        inner_at, inner = member(value, "kvlistValue", at, dict)
        return dict(_key_values(inner, "values", inner_at, depth + 1))
    return None
