"""Requirements as CSV (RFC 4180): a header, a row each; what is no text is JSON in its cell. Pure."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import orjson

from plumbline_requirements.interchange.records import (
    COLUMNS,
    LONGEST,
    PASSED_OVER,
    WRITTEN,
    Fault,
    Read,
    Record,
    Unreadable,
    lines,
    record,
)

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
JSON_CELLS: Mapping[str, Any] = {"slos": [], "budget_policy": [], "labels": {}}
"""The members that are JSON in a cell, each with what an empty one means."""
_NULLABLE = ("owner_team", "service")
_CHOICES = ("type", "priority")

csv.field_size_limit(LONGEST)


def header() -> bytes:
    return _row(COLUMNS)


def rows(documents: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(_row([_cell(name, document[name]) for name in COLUMNS]) for document in documents)


def _row(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "verdict":
        return str(value["state"])
    if name in JSON_CELLS:
        return orjson.dumps(value).decode() if value else ""
    text = str(value)
    # A spreadsheet would take it for a formula and run it: an apostrophe makes it text, and is taken off again.
    return f"'{text}" if _FORMULA.match(text) else text


def read(file: IO[bytes]) -> Read:
    """The records of a file. Raises `Unreadable`."""
    taken = 0  # characters since the last whole row
    number, begun = 0, 1

    def text() -> Iterator[str]:
        nonlocal taken, number
        for count, line in lines(file):
            number = count
            taken += len(line)
            if taken > LONGEST:
                raise Unreadable(f"a row is longer than {LONGEST} characters: is a quote missing?", begun)
            yield line

    source = text()
    first = next(source, "")
    reader = csv.reader(_again(first, source), delimiter=_delimiter(first), strict=True)
    try:
        names = _names([name.strip() for name in next(reader, [])])
        begun = number + 1
        for cells in reader:
            taken = 0
            if any(cells):
                yield _record(begun, names, cells)
            begun = number + 1
    except csv.Error as error:
        raise Unreadable(f"is not CSV: {error}", max(number, 1)) from None


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest


def _delimiter(first: str) -> str:
    """Spreadsheets of some countries write semicolons, others write tabs."""
    return max(",;\t", key=first.count)


def _names(names: list[str]) -> list[str]:
    if not names:
        raise Unreadable("is empty: the first row names the columns", 1)
    for name in names:
        if names.count(name) > 1:
            raise Unreadable(f"the column {name} comes twice", 1)
        if name not in COLUMNS:
            raise Unreadable(f"there is no column {name[:80]!r}; there are {', '.join(COLUMNS)}", 1)
    if not {"title", "id", "key"} & set(names):
        raise Unreadable("the column title is missing", 1)
    return names


def _record(line: int, names: Sequence[str], cells: Sequence[str]) -> Record | list[Fault]:
    if len(cells) != len(names):
        return [Fault(line, "", f"has {len(cells)} cells, the header has {len(names)}")]
    given: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, cell in zip(names, cells, strict=True):
        if name in PASSED_OVER:
            continue
        text = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
        if name in JSON_CELLS:
            try:
                given[name] = json_of(text) if text.strip() else JSON_CELLS[name]
            except ValueError as error:
                faults.append(Fault(line, f"/{name}", f"is not JSON: {error}"))
        elif name in _NULLABLE:
            given[name] = text or None
        elif name not in _CHOICES or text:
            given[name] = text
    return faults or record(line, given)


def json_of(text: str) -> Any:
    """A JSON value. Raises `ValueError`."""
    try:
        return json.loads(text, object_pairs_hook=distinct, parse_constant=refused)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of a JSON object. Raises `ValueError` where one comes twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the member {next(name for name in names if names.count(name) > 1)!r} comes twice")
    return found


def refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


assert {*WRITTEN, *JSON_CELLS, *_NULLABLE, *_CHOICES} <= set(COLUMNS)
