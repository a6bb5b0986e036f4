"""The lines of the answer to an upload, one of these each."""

from typing import Annotated, Any

from pydantic import Field

from plumbline_common.schemas import Schema

_Count = Annotated[int, Field(ge=0)]


class RefusedLine(Schema):
    """A line of the file of which something is not stored."""

    line: Annotated[int, Field(ge=1)]
    detail: str


class Progress(Schema):
    """How far the file is stored: so many of its bytes, points that are stored or were there already, and points and
    lines that were refused."""

    bytes: _Count
    stored: _Count
    refused: _Count


class Waiting(Schema):
    """The service sent what it may send in a minute: the upload goes on after so many seconds."""

    waiting: _Count
    detail: str


class Totals(Schema):
    """The last line. `unlisted` were refused beyond those that are listed; with a `problem` (RFC 9457) the upload
    ended early, and may be sent again."""

    totals: Progress
    unlisted: _Count = 0
    problem: dict[str, Any] | None = None
