"""Rows of points from CSV: `timestamp,value`, some thousands at a time."""

import csv
import io
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO

from plumbline_analysis.moments import micros

BATCH = 4096
_UNITS = ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1))
"""A number below the first is in seconds, below the second in milliseconds, below the third in microseconds."""
_MISSING = ("", "nan", "-nan", "+nan")


class Malformed(ValueError):
    """A row that cannot be read, with its line and the reason."""


@dataclass
class Batch:
    """Columns of equal length: timestamps and values as they stand in the file, microseconds since the epoch, and
    values, NaN where they are missing."""

    stamps: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    at: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))


def batches(source: IO[bytes]) -> Iterator[Batch]:
    """The points of a CSV in UTF-8 whose header names the columns `timestamp` and `value`; others are left out, and
    so are empty lines. Raises `Malformed` at the first row that cannot be read."""
    lines = io.TextIOWrapper(source, "utf-8-sig", errors="replace", newline="")
    rows = csv.reader(lines, strict=True)
    batch = Batch()
    try:
        stamp_column, value_column, width = _columns(next(rows, []))
        for row in rows:
            if not row:
                continue
            if len(row) != width:
                raise Malformed(f"{len(row)} columns instead of {width}")
            stamp, text = row[stamp_column], row[value_column]
            batch.at.append(instant(stamp))
            batch.values.append(number(text))
            batch.stamps.append(stamp)
            batch.texts.append(text)
            if len(batch.at) == BATCH:
                yield batch
                batch = Batch()
    except (Malformed, csv.Error) as error:
        raise Malformed(f"line {max(rows.line_num, 1)}: {error}") from None
    finally:
        lines.detach()
    if batch.at:
        yield batch


def _columns(header: list[str]) -> tuple[int, int, int]:
    names = [name.strip().lower() for name in header]
    for name in ("timestamp", "value"):
        if names.count(name) != 1:
            raise Malformed(f"the header names {'several columns' if name in names else 'no column'} {name}")
    return names.index("timestamp"), names.index("value"), len(names)


def instant(text: str) -> int:
    """Microseconds since the epoch of an ISO 8601 timestamp, in UTC where it names no zone, or of a number."""
    plain = text.strip()
    try:
        if plain[4:5] != "-" and plain.replace(".", "", 1).lstrip("-").isdecimal():
            return _of_number(plain)
        moment = datetime.fromisoformat(plain)
        return micros(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except Malformed:
        raise
    except (ValueError, OverflowError):
        raise Malformed(f"timestamp {text!r} is neither ISO 8601 nor a number of s, ms or µs since 1970") from None


def _of_number(plain: str) -> int:
    since = float(plain)
    for below, factor in _UNITS:
        if abs(since) < below:
            return int(plain) * factor if "." not in plain else round(since * factor)
    raise Malformed(f"timestamp {plain!r} is beyond the year 5138, even in microseconds")


def number(text: str) -> float:
    """A value; NaN where it is empty or NaN."""
    plain = text.strip()
    if plain.lower() in _MISSING:
        return float("nan")
    try:
        if "_" in plain:
            raise ValueError
        return float(plain)
    except ValueError:
        raise Malformed(f"value {text!r} is no number") from None
