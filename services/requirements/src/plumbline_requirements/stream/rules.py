"""Which events a stream carries, and how they look on it (HTML Living Standard, section 9.2)."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import orjson

from plumbline_common import sse
from plumbline_common.events import PREFIX, registry

PRODUCER = "requirements"
CHUNK_BYTES = 64 * 1024


def name_of(subject: str) -> str:
    """The subject without its version: what a stream calls the event."""
    return subject.rpartition(".")[0]


TYPES = tuple(sorted({name_of(subject) for subject in registry() if subject.startswith(f"{PRODUCER}.")}))
"""The events that a stream may carry."""

_ABSENT: Any = object()


@dataclass(frozen=True)
class Entry:
    """One event of the log, at its gapless position."""

    position: int
    id: UUID
    subject: str
    key: str
    data: str
    created_at: datetime

    @cached_property
    def frame(self) -> bytes:
        """The event as it is sent: a structured CloudEvent on one line. Made once for all who follow."""
        attributes = {
            "specversion": "1.0",
            "id": str(self.id),
            "source": f"/{PREFIX}/{PRODUCER}",
            "type": f"{PREFIX}.{self.subject}",
            "subject": self.key,
            "time": self.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        }
        # The data is JSON already, on one line as `outbox.row_of` writes it.
        document = f'{json.dumps(attributes, separators=(",", ":"))[:-1]},"data":{self.data}}}'
        return sse.frame(self.position, name_of(self.subject), document)

    @cached_property
    def about(self) -> list[dict[str, Any]]:
        """What filters look at: the requirement, and what is in force of it while a change is drafted."""
        data = orjson.loads(self.data)
        if "requirement" not in data:
            return [data]
        return [part for part in (data["requirement"], data.get("in_force")) if part is not None]

    @property
    def requirement_id(self) -> str:
        first = self.about[0]
        return str(first.get("requirement_id") or first.get("id") or self.key)


@dataclass(frozen=True)
class Filter:
    """What one stream carries. A member that is None or empty lets all through."""

    types: frozenset[str] = frozenset()
    requirement_id: UUID | None = None
    service: str | None = None
    owner_team: str | None = None

    def passes(self, entry: Entry) -> bool:
        """Whether the event is wanted. One that does not tell its service or team (a deletion) may be of any."""
        if self.types and name_of(entry.subject) not in self.types:
            return False
        if self.requirement_id is not None and entry.requirement_id != str(self.requirement_id):
            return False
        return _told(entry, "service", self.service) and _told(entry, "owner_team", self.owner_team)


def _told(entry: Entry, member: str, wanted: str | None) -> bool:
    return wanted is None or any(part.get(member, _ABSENT) in (wanted, _ABSENT) for part in entry.about)


def chunks(entries: Iterable[Entry], wanted: Filter) -> Iterator[bytes]:
    """The frames of those that are wanted, some at a time."""
    frames: list[bytes] = []
    size = 0
    for entry in entries:
        if wanted.passes(entry):
            frames.append(entry.frame)
            size += len(entry.frame)
            if size >= CHUNK_BYTES:
                yield b"".join(frames)
                frames, size = [], 0
    if frames:
        yield b"".join(frames)


@dataclass(frozen=True)
class Kept:
    """What the log holds: the positions `oldest` to `newest`. Where it is empty, `oldest` is the next one."""

    oldest: int
    newest: int

    def follows(self, position: int) -> bool:
        """Whether all that came after `position` is there."""
        return self.oldest - 1 <= position <= self.newest


def reset(asked: int, kept: Kept) -> bytes:
    """Tells the client that events are missing: it should load anew what it shows."""
    document = json.dumps({"last_event_id": asked, "oldest": kept.oldest, "newest": kept.newest})
    return sse.frame(kept.newest, "reset", document)
