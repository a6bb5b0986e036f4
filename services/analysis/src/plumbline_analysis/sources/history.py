"""History as CSV or JSON lines, some thousands of points at a time. CPU-bound and blocking: for a thread.

A CSV with a column `value` has a point a row: `timestamp`, `value`, perhaps `service`, `metric` and `attributes` (a
JSON object); each other column is an attribute. One without has a metric a column. A JSON line is an object with the
five. Timestamps are ISO 8601, in UTC where they name no zone, or a number of s, ms, µs or ns since 1970. An empty
value and NaN are no value.
"""

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import IO, Any

import numpy as np
import orjson

from plumbline_analysis.moments import micros
from plumbline_analysis.sources import batch
from plumbline_analysis.sources.batch import Batch, Head, Kind, Temporality, Window
from plumbline_analysis.sources.otlp import text
from plumbline_common.errors import Invalid

SOURCE = "upload"
SLICE = 5_000
"""Points of a slice, give or take those of a row."""
LONGEST_LINE = 64 * 1024
_UNITS = ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1))
"""A number below the first counts units of so many microseconds: seconds until the year 5138, then milliseconds and
microseconds; nanoseconds beyond."""
_TIMESTAMP, _VALUE, _SERVICE, _METRIC, _ATTRIBUTES = "timestamp", "value", "service", "metric", "attributes"
_MEMBERS = {_TIMESTAMP, _VALUE, _SERVICE, _METRIC, _ATTRIBUTES}


class Malformed(ValueError):
    """What is wrong with a line."""


@dataclass(frozen=True)
class Defaults:
    """What holds for every point that does not say otherwise. A counter is cumulative."""

    service: str = ""
    metric: str = ""
    unit: str = ""
    counter: bool = False


@dataclass(frozen=True)
class Point:
    time: int
    value: float
    service: str
    metric: str
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass
class Slice:
    """Some lines of a file, numbered from 1. `places[i]` are the lines of block i's points; `faults` those at fault,
    with the reason. `end` is the place in the file, in bytes."""

    batch: Batch = field(default_factory=Batch)
    places: list[list[int]] = field(default_factory=list)
    faults: list[tuple[int, str]] = field(default_factory=list)
    end: int = 0


Rows = Iterator[tuple[int, Callable[[], Sequence[Point]]]]
"""The number of each line, and what reads its points; that raises `Malformed`."""


def slices(source: IO[bytes], rows: Rows, defaults: Defaults, window: Window) -> Iterator[Slice]:
    """The file in slices, the last of which may be empty."""
    found, points, size = Slice(), _Points(), 0
    for number, read in rows:
        try:
            for point in read():
                if (fault := batch.time_fault(point.time, window)) is not None:
                    raise Malformed(fault)
                points.setdefault((point.service, point.metric), []).append((number, point))
                size += 1
        except Malformed as malformed:
            found.faults.append((number, str(malformed)))
            size += 1
        if size >= SLICE:
            yield _finished(found, points, defaults, window, source.tell())
            found, points, size = Slice(), _Points(), 0
    yield _finished(found, points, defaults, window, source.tell())


_Points = dict[tuple[str, str], list[tuple[int, Point]]]
"""By service and metric, each with its line."""


def _finished(found: Slice, points: _Points, defaults: Defaults, window: Window, end: int) -> Slice:
    for (service, metric), members in points.items():
        head = _head(service or defaults.service, metric or defaults.metric, defaults)
        times = np.array([point.time * 1000 for _, point in members], np.uint64)
        values = np.array([point.value for _, point in members], np.float64)
        keys = [point.attributes for _, point in members]
        batch.add(found.batch, window, head, dict, list(keys), np.zeros_like(times), times, values)
        found.places.append([number for number, _ in members])
    found.end = end
    return found


def _head(service: str, metric: str, defaults: Defaults) -> Head:
    return Head(
        source=SOURCE,
        metric=metric,
        unit=defaults.unit,
        kind=Kind.SUM if defaults.counter else Kind.GAUGE,
        temporality=Temporality.CUMULATIVE if defaults.counter else Temporality.NONE,
        monotonic=defaults.counter,
        scope="",
        resource=((batch.SERVICE, service),) if service else (),
    )


def _lines(source: IO[bytes]) -> Iterator[bytes]:
    """Every line; of one that is too long as much as tells that it is."""
    while line := source.readline(LONGEST_LINE + 1):
        yield line
        while len(line) > LONGEST_LINE and not line.endswith(b"\n") and (line := source.readline(LONGEST_LINE + 1)):
            pass


# --- JSON lines -------------------------------------------------------------------------------------------


def json_rows(source: IO[bytes]) -> Rows:
    for number, line in enumerate(_lines(source), 1):
        if line.strip():
            yield number, partial(_of_json, line)


def _of_json(line: bytes) -> Sequence[Point]:
    if len(line) > LONGEST_LINE:
        raise Malformed(f"the line is longer than {LONGEST_LINE} bytes")
    try:
        given = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error}") from None
    if not isinstance(given, dict):
        raise Malformed("not a JSON object")
    if unknown := given.keys() - _MEMBERS:
        raise Malformed(f"there is no member {min(unknown)[:100]!r}: attributes stand in {_ATTRIBUTES!r}")
    for member in (_SERVICE, _METRIC):
        if not isinstance(given.get(member, ""), str):
            raise Malformed(f"{member!r} is not a string")
    value = given.get(_VALUE)
    if value is None:
        return ()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Malformed(f"{_VALUE!r} is not a number")
    return [
        Point(
            time=instant(given.get(_TIMESTAMP)),
            value=_finite(float(value)),
            service=given.get(_SERVICE, ""),
            metric=given.get(_METRIC, ""),
            attributes=_attributes(given.get(_ATTRIBUTES) or {}),
        )
    ]


def _attributes(given: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(given, dict):
        raise Malformed(f"{_ATTRIBUTES!r} is not a JSON object")
    return tuple(sorted((name, text(value)) for name, value in given.items()))


# --- CSV --------------------------------------------------------------------------------------------------


def csv_rows(source: IO[bytes], defaults: Defaults) -> Rows:
    """Raises `Invalid` where the header is not one."""
    lines = _Decoded(source)
    rows = csv.reader(lines, strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
    except csv.Error as error:
        raise Invalid(f"the header cannot be read: {error}", pointer="") from None
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise Invalid(f"the header names {repeated[0]!r} twice", pointer="")
    if _TIMESTAMP not in header:
        raise Invalid(f"the header has no column {_TIMESTAMP!r}", pointer="")
    if "" in header:
        raise Invalid("a column has no name", pointer="")
    if _VALUE in header and _METRIC not in header and not defaults.metric:
        raise Invalid(f"there is no column {_METRIC!r}, nor a parameter of that name", pointer="")
    return _of_csv(lines, rows, header, _long if _VALUE in header else _wide)


class _Decoded(Iterator[str]):
    """Lines as text. One that cannot be read is blank, and why stands in `fault`."""

    def __init__(self, source: IO[bytes]) -> None:
        self._lines = _lines(source)
        self._first = True
        self.fault: str | None = None

    def __next__(self) -> str:
        line = next(self._lines)
        encoding, self._first = ("utf-8-sig" if self._first else "utf-8"), False
        if len(line) > LONGEST_LINE:
            self.fault = f"the line is longer than {LONGEST_LINE} bytes"
            return "\n"
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            self.fault = "the line is not UTF-8"
            return "\n"


def _of_csv(
    lines: _Decoded, rows: Any, header: list[str], points: Callable[[dict[str, str]], Sequence[Point]]
) -> Rows:
    def read(row: list[str], fault: str | None) -> Sequence[Point]:
        if fault is not None:
            raise Malformed(fault)
        if len(row) != len(header):
            raise Malformed(f"{len(row)} columns instead of {len(header)}")
        return points(dict(zip(header, row, strict=True)))

    while True:
        row: list[str] = []
        fault = None
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            fault = str(error)
        fault, lines.fault = lines.fault or fault, None
        if row or fault is not None:
            yield rows.line_num, partial(read, row, fault)


def _long(cells: dict[str, str]) -> Sequence[Point]:
    if (value := _number(cells[_VALUE])) is None:
        return ()
    given = {name: cell for name, cell in cells.items() if cell and name not in _MEMBERS}
    if cells.get(_ATTRIBUTES):
        try:
            given |= _attributes(orjson.loads(cells[_ATTRIBUTES]))
        except orjson.JSONDecodeError as error:
            raise Malformed(f"{_ATTRIBUTES!r} is not JSON: {error}") from None
    attributes = tuple(sorted(given.items()))
    return [Point(instant(cells[_TIMESTAMP]), value, cells.get(_SERVICE, ""), cells.get(_METRIC, ""), attributes)]


def _wide(cells: dict[str, str]) -> Sequence[Point]:
    time, service = instant(cells[_TIMESTAMP]), cells.get(_SERVICE, "")
    found = []
    for metric, cell in cells.items():
        if metric not in (_TIMESTAMP, _SERVICE) and (value := _number(cell)) is not None:
            found.append(Point(time, value, service, metric))
    return found


def _number(cell: str) -> float | None:
    plain = cell.strip()
    if not plain or plain.lower().lstrip("+-") == "nan":
        return None
    try:
        if "_" in plain:
            raise ValueError
        return _finite(float(plain))
    except ValueError as error:
        raise error if isinstance(error, Malformed) else Malformed(f"{plain[:50]!r} is no number") from None


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise Malformed("the value is not a finite number")
    return value


def instant(given: Any) -> int:
    """Microseconds since the epoch. Raises `Malformed`."""
    try:
        if isinstance(given, str):
            plain = given.strip()
            if not plain.lstrip("-").replace(".", "", 1).isdecimal():
                at = datetime.fromisoformat(plain)
                return micros(at if at.tzinfo else at.replace(tzinfo=UTC))
            given = float(plain) if "." in plain else int(plain)
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise ValueError
        for below, unit in _UNITS:
            if abs(given) < below:
                return round(given * unit)
        if abs(given) < 2**63:
            return int(given) // 1000
    except (ValueError, OverflowError):
        pass
    raise Malformed(f"{_TIMESTAMP} {str(given)[:50]!r} is neither ISO 8601 nor a number since 1970")
