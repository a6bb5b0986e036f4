"""What every source of logs decodes into: the lines of one request, with each refused one accounted for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from plumbline_analysis.sources.batch import MAX_ATTRIBUTE_KEY, MAX_ATTRIBUTE_VALUE, MAX_ATTRIBUTES

MAX_LINES = 100_000
MAX_BODY = 8192
"""Bytes of a body that are kept: what lies beyond is in no template."""
MAX_SERVICE_NAME = 255
UNKNOWN_SERVICE = "unknown_service"
"""What OpenTelemetry's SDKs call a service that has no name."""
MAX_SEVERITY = 24


class Line(NamedTuple):
    """`time` in microseconds since the epoch; `severity` is OpenTelemetry's number, 0 where none was given; `body`
    is UTF-8 without NUL, `attributes` a JSON object."""

    service: str
    time: int
    severity: int
    body: bytes
    attributes: bytes


@dataclass(slots=True)
class Lines:
    """`is_timed`: whether each had a time of its own, so that no two requests are equal unless one is a retry."""

    accepted: list[Line] = field(default_factory=list)
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    is_timed: bool = True

    def reject(self, count: int, reason: str) -> None:
        self.rejected += count
        self.reasons[reason] = self.reasons.get(reason, 0) + count

    @property
    def message(self) -> str:
        """What was left out and why, for the sender's log; empty where nothing was."""
        return "; ".join(f"{count} log records: {reason}" for reason, count in self.reasons.items())


def service_fault(service: str) -> str | None:
    """Why no line of a service of this name can be stored; None where they can."""
    if len(service) > MAX_SERVICE_NAME:
        return f"the service's name is longer than {MAX_SERVICE_NAME} characters"
    return "the service's name holds the NUL character" if "\x00" in service else None


def body(raw: bytes) -> bytes:
    """The bytes of a line that are kept, as PostgreSQL can store them: NUL is a space, what is no UTF-8 is U+FFFD."""
    raw = raw[:MAX_BODY].replace(b"\x00", b" ")
    return raw if raw.isascii() else raw.decode("utf-8", "replace").encode()


def attributes(members: Sequence[bytes]) -> bytes:
    """A JSON object of the first members, each an `attribute`."""
    return b"{%b}" % b",".join(members[:MAX_ATTRIBUTES])


def attribute(key: str, value: str) -> bytes:
    """A member of a JSON object, cut off where it is long, as OpenTelemetry's attribute limits have it."""
    return b"%b:%b" % (
        orjson.dumps(_storable(key, MAX_ATTRIBUTE_KEY)),
        orjson.dumps(_storable(value, MAX_ATTRIBUTE_VALUE)),
    )


def _storable(text: str, longest: int) -> str:
    return text[:longest].replace("\x00", " ")
