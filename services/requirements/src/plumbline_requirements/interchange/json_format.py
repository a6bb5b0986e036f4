"""Requirements as JSON, as the API has them: an array with an object a line, or lines of JSON. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import IO, Any

import orjson

from plumbline_requirements.interchange.csv_format import distinct, refused
from plumbline_requirements.interchange.records import LONGEST, Fault, Read, Record, Unreadable, lines, record

_DECODER = json.JSONDecoder(object_pairs_hook=distinct, parse_constant=refused)
_BLANK = re.compile(r"[ \t\r\n]*")
_BLOCK = 256 * 1024


def objects(documents: Sequence[Mapping[str, Any]], *, first: bool) -> bytes:
    """Items of an array that `[` opens."""
    written = b",\n".join(orjson.dumps(document) for document in documents)
    return written if first else b",\n" + written


def object_lines(documents: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE) for document in documents)


def read_lines(file: IO[bytes]) -> Read:
    """The records of lines of JSON. Raises `Unreadable`."""
    for number, line in lines(file):
        if line.strip():
            yield _record(line.strip(), number)


def read(file: IO[bytes]) -> Read:
    """The records of an array of objects, or of one object. Raises `Unreadable`.

    Of the text as much is kept as one record takes, so each is at most `LONGEST` characters long.
    """
    text = _Text(file)
    opened = text.peek()
    if opened == "{":
        yield text.value()
    elif opened == "[":
        text.skip()
        while text.peek() not in ("]", ""):
            yield text.value()
            if text.peek() == ",":
                text.skip()
                if text.peek() == "]":
                    raise Unreadable("is not JSON: there is nothing behind the last comma", text.line)
            elif text.peek() != "]":
                raise Unreadable("is not JSON: a comma or ] is missing", text.line)
        if text.peek() != "]":
            raise Unreadable("is not JSON: ] is missing at its end", text.line)
        text.skip()
    else:
        raise Unreadable("must be an array of requirements", text.line)
    if text.peek():
        raise Unreadable("is not JSON: there is more behind its end", text.line)


class _Text:
    """The text from the place on that was read, some of it at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._rest, self._kept, self._at, self.line = file, b"", "", 0, 1
        self._ended = False
        self._fill(1)
        self._kept = self._kept.removeprefix("\ufeff")

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            blank = _BLANK.match(self._kept, self._at)
            assert blank is not None
            self._forward(blank.end())
            if self._at < len(self._kept) or self._ended:
                return self._kept[self._at : self._at + 1]
            self._fill(1)

    def skip(self) -> None:
        self._forward(self._at + 1)

    def value(self) -> Record | list[Fault]:
        self._fill(LONGEST)
        begun, at = self.line, self._at
        try:
            found, end = _DECODER.raw_decode(self._kept, at)
        except (ValueError, RecursionError) as error:
            if len(self._kept) - at >= LONGEST:
                reason = f"is no JSON value of at most {LONGEST} characters"
            else:
                reason = "is nested too deep" if isinstance(error, RecursionError) else f"is not JSON: {_said(error)}"
            if isinstance(error, json.JSONDecodeError):
                begun += self._kept.count("\n", at, error.pos)
            raise Unreadable(reason, begun) from None
        if end - at > LONGEST:
            raise Unreadable(f"is longer than {LONGEST} characters", begun)
        self._forward(end)
        return _taken(found, begun)

    def _forward(self, to: int) -> None:
        self.line += self._kept.count("\n", self._at, to)
        self._at = to

    def _fill(self, least: int) -> None:
        parts, size = [self._kept[self._at :]], len(self._kept) - self._at
        if size >= least or self._ended:
            return
        while size < least and not self._ended:
            block = self._rest + self._file.read(_BLOCK)
            self._ended = len(block) == len(self._rest)
            # The end of a block may lie within a character.
            whole = block if self._ended else block[: len(block) - _unfinished(block)]
            self._rest = block[len(whole) :]
            try:
                parts.append(whole.decode())
            except UnicodeDecodeError as error:
                line = self.line + sum(part.count("\n") for part in parts) + whole.count(b"\n", 0, error.start)
                raise Unreadable("is not UTF-8", line) from None
            size += len(parts[-1])
        self._kept, self._at = "".join(parts), 0


def _unfinished(block: bytes) -> int:
    """How many bytes at the end begin a character that they do not end."""
    for count in range(1, min(4, len(block)) + 1):
        lead = block[-count]
        if lead & 0xC0 == 0xC0:
            needed = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return count if count < needed else 0
        if lead < 0x80:
            return 0
    return 0


def _record(text: str, line: int) -> Record | list[Fault]:
    try:
        found, end = _DECODER.raw_decode(text)
    except RecursionError:
        return [Fault(line, "", "is nested too deep")]
    except ValueError as error:
        return [Fault(line, "", f"is not JSON: {_said(error)}")]
    return _taken(found, line) if end == len(text) else [Fault(line, "", "is not one JSON object")]


def _taken(found: Any, line: int) -> Record | list[Fault]:
    return record(line, found) if isinstance(found, dict) else [Fault(line, "", "must be an object")]


def _said(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)
