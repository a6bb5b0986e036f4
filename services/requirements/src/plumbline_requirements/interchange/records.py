"""What a file says of one requirement, whatever its format: a record, or what is wrong with it. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Literal
from uuid import UUID

from pydantic import ValidationError

from plumbline_common.problems import pointer
from plumbline_requirements.links.rules import LinkType
from plumbline_requirements.requirements.schemas import RequirementContent

FileFormat = Literal["csv", "json", "ndjson", "reqif"]
ReportFormat = Literal["markdown", "html"]

WRITTEN = tuple(name for name in RequirementContent.model_fields if name != "status")
"""What people write; a file may leave any of it out but the title of a new requirement."""
COLUMNS = ("id", "key", *WRITTEN, "status", "revision", "in_force", "verdict", "fingerprint",
           "created_at", "created_by", "updated_at", "updated_by")  # fmt: skip
PASSED_OVER = frozenset({*COLUMNS, "reviewers", "warnings", "suspect_links"}) - {*WRITTEN, "id", "key"}
"""What Plumbline says of a requirement: an import leaves it as it is here."""
LONGEST = 1024 * 1024
"""Characters of one record."""


class Unreadable(ValueError):
    """The file can't be read on from here. `line` counts from 1."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


@dataclass(frozen=True)
class Fault:
    """What is wrong, and where: `line` of the file, `member` of the record as a JSON pointer."""

    line: int
    member: str
    reason: str


@dataclass(frozen=True)
class Record:
    """One requirement of a file. `members` are validated; the others stay as they are."""

    line: int
    id: UUID | None
    key: str | None
    members: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    """What the file calls it where it refers to it."""


@dataclass(frozen=True)
class Relation:
    """A link of two requirements of a file, by what the file calls them."""

    line: int
    source: str
    target: str
    type: LinkType | None
    """None where Plumbline has no such link."""


Read = Iterator[Record | Relation | list[Fault]]


def record(line: int, given: Mapping[str, Any]) -> Record | list[Fault]:
    """Take what a file says. Members that nobody writes are passed over; an unknown one is a fault."""
    faults = [
        Fault(line, pointer([name]), f"there is no member {name[:80]}; there are {', '.join(COLUMNS)}")
        for name in given
        if name not in PASSED_OVER and name not in WRITTEN and name not in ("id", "key")
    ]
    id, key = given.get("id"), given.get("key")
    try:
        id = None if id in (None, "") else UUID(str(id))
    except ValueError:
        faults.append(Fault(line, "/id", "must be a UUID"))
    if key in (None, ""):
        key = None
    elif not isinstance(key, str) or not re.fullmatch(r"REQ-[1-9][0-9]{0,17}", key):
        faults.append(Fault(line, "/key", "must be a key such as REQ-42"))
    members = {name: given[name] for name in WRITTEN if name in given}
    # A record without a title may be a change of one that there is.
    try:
        content = RequirementContent.model_validate({"title": "untitled"} | members)
    except ValidationError as error:
        faults += [
            Fault(line, pointer(each["loc"]), each["msg"].removeprefix("Value error, "))
            for each in error.errors()[:20]
        ]
    if faults:
        return faults
    written = content.model_dump(mode="json")
    assert id is None or isinstance(id, UUID)
    return Record(line, id, key, {name: written[name] for name in members})


def lines(file: IO[bytes]) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 text with their numbers. Raises `Unreadable`."""
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise Unreadable(f"is longer than {LONGEST} bytes", number)
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise Unreadable(f"is not UTF-8: byte {error.start} of the line", number) from None
