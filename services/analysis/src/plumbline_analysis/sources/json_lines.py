"""Logs as JSON lines: one object a line. What cannot be taken is named by its line, the others are kept.

time, timestamp, @timestamp        RFC 3339, or a number since the epoch; the time of receipt where none is given
body, message, msg                 the first of these that is given; an object or a list is taken as JSON
severity, level, severity_number   a name or OpenTelemetry's number; a name that is not known is no severity
service.name, service              a string, or an object with a name
anything else                      an attribute
"""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from plumbline_analysis.moments import micros
from plumbline_analysis.sources import batch, lines, otlp
from plumbline_analysis.sources.batch import Window
from plumbline_analysis.sources.lines import Line
from plumbline_common.errors import TooLarge

_TIMES = ("time", "timestamp", "@timestamp")
_BODIES = ("body", "message", "msg")
_SEVERITIES = ("severity", "level", "severity_number")
_SERVICES = ("service.name", "service")
_NAMED = {*_TIMES, *_BODIES, *_SEVERITIES, *_SERVICES}
_LEVELS = {
    "trace": 1, "debug": 5, "info": 9, "information": 9, "notice": 10, "warn": 13, "warning": 13, "err": 17,
    "error": 17, "crit": 18, "critical": 18, "alert": 19, "fatal": 21, "panic": 21, "emerg": 21, "emergency": 21,
}  # fmt: skip
_UNITS = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (math.inf, 1e-3))
"""A number below the first counts units of so many microseconds: seconds until the year 5138, then milliseconds,
microseconds and nanoseconds."""


@dataclass(slots=True)
class Parsed:
    """`numbers[i]` is the number of the accepted line i, from 1; `rejected` has the others' and what is wrong."""

    accepted: list[Line] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    rejected: list[tuple[int, str]] = field(default_factory=list)


class _Refused(ValueError):
    pass


def decode(body: bytes, window: Window, now: int) -> Parsed:
    """The lines that are not blank. `now`, in microseconds, is the time of those without one.

    Raises `TooLarge` where there are more than `lines.MAX_LINES`.
    """
    found = Parsed()
    if body.count(b"\n") > lines.MAX_LINES:
        raise TooLarge(f"the body holds more than {lines.MAX_LINES} lines: send smaller batches")
    for number, raw in enumerate(body.split(b"\n"), 1):
        if raw.strip():
            try:
                found.accepted.append(_line(raw, window, now))
                found.numbers.append(number)
            except _Refused as refused:
                found.rejected.append((number, str(refused)))
    return found


def _line(raw: bytes, window: Window, now: int) -> Line:
    try:
        given = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _Refused(f"not JSON: {error}") from None
    if not isinstance(given, dict):
        raise _Refused("not a JSON object")
    body = _first(given, _BODIES)
    if body is None:
        raise _Refused(f"none of {', '.join(_BODIES)} is given")
    service = _service(_first(given, _SERVICES))
    if (fault := lines.service_fault(service)) is not None:
        raise _Refused(fault)
    time = _time(_first(given, _TIMES), now)
    if (fault := batch.time_fault(time, window)) is not None:
        raise _Refused(fault)
    attributes = [lines.attribute(key, otlp.text(value)) for key, value in given.items() if key not in _NAMED]
    return Line(
        service,
        time,
        _severity(_first(given, _SEVERITIES)),
        lines.body(otlp.text(body).encode()),
        lines.attributes(attributes),
    )


def _first(given: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((given[name] for name in names if given.get(name) is not None), None)


def _service(given: Any) -> str:
    if isinstance(given, dict):
        given = given.get("name")
    if given is not None and not isinstance(given, str):
        raise _Refused("the service is neither a string nor an object with a name")
    return given or lines.UNKNOWN_SERVICE


def _time(given: Any, now: int) -> int:
    if given is None:
        return now
    if isinstance(given, str):
        try:
            at = datetime.fromisoformat(given)
            # RFC 3339 asks for a zone; what most libraries write without one is UTC on servers, and wrong elsewhere.
            if at.tzinfo is not None:
                return micros(at.astimezone(UTC))
        except (ValueError, OverflowError):
            pass
        raise _Refused("the time is not RFC 3339 with a zone")
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < 2**64:
        raise _Refused("the time is neither RFC 3339 nor a number since 1970")
    microseconds = next(unit for below, unit in _UNITS if given < below)
    return given // 1000 if isinstance(given, int) and microseconds < 1 else int(given * microseconds)


def _severity(given: Any) -> int:
    if isinstance(given, str):
        return _LEVELS.get(given.strip().lower(), 0)
    is_number = isinstance(given, int) and not isinstance(given, bool) and 0 < given <= lines.MAX_SEVERITY
    return given if is_number else 0
