"""What can be done with files: write what there is, take in what they say."""

import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from graphlib import CycleError, TopologicalSorter
from typing import IO, Any
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db, offload, problems
from plumbline_common.auth import UserInfo
from plumbline_common.errors import PlumblineError
from plumbline_common.preconditions import etag
from plumbline_common.schemas import RequirementStatus
from plumbline_requirements.history import rules as history
from plumbline_requirements.interchange import csv_format, json_format, reports, repository, reqif_format
from plumbline_requirements.interchange.records import (
    WRITTEN,
    Fault,
    FileFormat,
    Read,
    Record,
    Relation,
    ReportFormat,
    Unreadable,
)
from plumbline_requirements.links import service as links
from plumbline_requirements.links.rules import ACYCLIC
from plumbline_requirements.links.schemas import LinkContent
from plumbline_requirements.listing.repository import Filters
from plumbline_requirements.models import key_of, number_of
from plumbline_requirements.requirements import rules as requirement_rules
from plumbline_requirements.requirements import service as requirements
from plumbline_requirements.requirements.schemas import RequirementContent
from plumbline_requirements.requirements.service import Creation

BATCH = 250
MOST_FAULTS = 200
MOST_CHANGES = 1000
"""Changes of which an import tells one by one."""
_FIRST = UUID(int=0)
MOST_LINKS = 200_000
"""Links of one file: their ends are known only when all of it was read."""
_READERS: Mapping[FileFormat, Callable[[IO[bytes]], Read]] = {
    "csv": csv_format.read,
    "json": json_format.read,
    "ndjson": json_format.read_lines,
    "reqif": reqif_format.read,
}


# --- Out ------------------------------------------------------------------------------------------------


async def export(
    sessions: db.Sessions, filters: Filters, form: FileFormat | ReportFormat, said: Sequence[str]
) -> AsyncIterator[bytes]:
    """All that match in the order of their ids, some at a time; `said` is what the filters say."""
    at = datetime.now(UTC)
    count = 0
    yield _opening(form, at, said)
    last = _FIRST
    while True:
        async with sessions() as session:
            rows = await repository.after(session, filters, last, BATCH)
        if not rows:
            break
        last = rows[-1].id
        yield await offload.in_thread(_part, form, [row.document for row in rows], count == 0)
        count += len(rows)
    if form == "reqif":
        yield reqif_format.OBJECTS_END
        async for part in _relations(sessions, filters, last):
            yield part
        async for part in _places(sessions, filters, at, last):
            yield part
    yield _closing(form, count)


def _opening(form: str, at: datetime, said: Sequence[str]) -> bytes:
    match form:
        case "csv":
            return csv_format.header()
        case "json":
            return b"[\n"
        case "reqif":
            return reqif_format.opening(at)
        case "markdown" | "html":
            return reports.opening(form, at, said)
    return b""


def _part(form: str, documents: Sequence[str], first: bool) -> bytes:
    read = [orjson.loads(document) for document in documents]
    match form:
        case "csv":
            return csv_format.rows(read)
        case "json":
            return json_format.objects(read, first=first)
        case "ndjson":
            return json_format.object_lines(read)
        case "reqif":
            return reqif_format.objects(read)
    return reports.sections(form, read)


def _closing(form: str, count: int) -> bytes:
    match form:
        case "json":
            return b"\n]\n" if count else b"]\n"
        case "reqif":
            return reqif_format.closing()
        case "markdown" | "html":
            return reports.closing(form, count)
    return b""


async def _relations(sessions: db.Sessions, filters: Filters, end: UUID) -> AsyncIterator[bytes]:
    """The links between what was written, up to `end`."""
    last, begun = _FIRST, False
    while True:
        async with sessions() as session:
            rows = await repository.links_after(session, filters, end, last, 4 * BATCH)
        if not rows:
            break
        last = rows[-1]["id"]
        if not begun:
            yield reqif_format.RELATIONS_BEGIN
        yield await offload.in_thread(reqif_format.relations, [dict(row) for row in rows])
        begun = True
    if begun:
        yield reqif_format.RELATIONS_END


async def _places(sessions: db.Sessions, filters: Filters, at: datetime, end: UUID) -> AsyncIterator[bytes]:
    """The list of what was written, up to `end`; what was deleted meanwhile is in it no more."""
    yield reqif_format.listing(at)
    last = _FIRST
    while last < end:
        async with sessions() as session:
            ids = [id for id in await repository.ids_after(session, filters, last, 4 * BATCH) if id <= end]
        if not ids:
            return
        last = ids[-1]
        yield await offload.in_thread(reqif_format.places, [str(id) for id in ids], at)


# --- In -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """How to import."""

    actor: UserInfo
    dry_run: bool
    reason: str


@dataclass
class _Sums:
    read: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    faults: int = 0
    told: int = 0
    seen: set[UUID | str] = field(default_factory=set)
    relations: list[Relation] = field(default_factory=list)
    names: dict[str, UUID | None] = field(default_factory=dict)
    """What the file calls its records; their ids once they are written."""
    linked: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("read", "created", "updated", "unchanged", "faults")}
        links = {name: self.linked[name] for name in ("created", "unchanged", "passed_over")}
        return counts | {"links": links}


class _Refused(Exception):
    """Something is wrong, so nothing is written."""


async def import_(sessions: db.Sessions, file: IO[bytes], form: FileFormat, asked: Asked) -> AsyncIterator[bytes]:
    """Lines of JSON: `progress`, each `fault` with its place, each `change`, and `done` at last.

    The whole file is checked before anything of it is written, and it is written in one transaction.
    """
    sums = _Sums()
    async for line in _checked(file, form, sums):
        yield line
    if not sums.faults:
        file.seek(0)
        sums = _Sums(relations=sums.relations, linked=Counter(passed_over=sums.linked["passed_over"]))
        with contextlib.suppress(_Refused):
            async with sessions.begin() as session:
                async for line in _taken(session, file, form, asked, sums):
                    yield line
                async for line in _linked(session, asked, sums):
                    yield line
                if sums.faults:
                    raise _Refused
    written = not (asked.dry_run or sums.faults)
    yield _line({"done": {"written": written, "dry_run": asked.dry_run, **sums.counts()}})


async def _checked(file: IO[bytes], form: FileFormat, sums: _Sums) -> AsyncIterator[bytes]:
    """Tell of all that is wrong with the file itself."""
    reader = _READERS[form](file)
    while batch := await offload.in_thread(_some, reader):
        for each in batch:
            for fault in each if isinstance(each, list) else _kept(each, sums):
                yield _counted(fault, sums)
        sums.read += _records(batch)
        yield _line({"progress": {"checked": sums.read}})
    for fault in await offload.in_thread(_loose, sums):
        yield _counted(fault, sums)


def _counted(fault: Fault, sums: _Sums) -> bytes:
    sums.faults += 1
    return _told(fault) if sums.faults <= MOST_FAULTS else b""


def _records(batch: Sequence[Record | Relation | list[Fault]]) -> int:
    return sum(not isinstance(each, Relation) for each in batch)


def _kept(each: Record | Relation, sums: _Sums) -> list[Fault]:
    """What is wrong with it beside the others that were read."""
    if isinstance(each, Record):
        faults = _twice(each, sums)
        if each.name:
            sums.names[each.name] = None
        return faults
    if each.type is None:
        sums.linked["passed_over"] += 1
        return []
    if len(sums.relations) < MOST_LINKS:
        sums.relations.append(each)
        return []
    sums.linked["too_many"] += 1
    return [Fault(each.line, "", f"a file has at most {MOST_LINKS:,} links")] if sums.linked["too_many"] == 1 else []


def _loose(sums: _Sums) -> list[Fault]:
    """Links that lead nowhere, or lead a requirement back to itself."""
    faults: list[Fault] = []
    above: dict[str, list[str]] = {}
    lines: dict[tuple[str, str], int] = {}
    for each in sums.relations:
        lost = [end for end in (each.source, each.target) if end not in sums.names]
        if lost:
            faults.append(Fault(each.line, "", f"links {lost[0][:80] or 'nothing'}, which the file does not have"))
        elif each.source == each.target:
            faults.append(Fault(each.line, "", "links a requirement with itself"))
        elif each.type in ACYCLIC:
            above.setdefault(each.source, []).append(each.target)
            lines.setdefault((each.source, each.target), each.line)
    try:
        TopologicalSorter(above).prepare()
    except CycleError as error:
        way: list[str] = list(reversed(error.args[1]))
        shown = " → ".join(each[:80] for each in way[:6]) + (" → …" if len(way) > 6 else "")
        faults.append(Fault(lines[way[0], way[1]], "", f"a requirement would derive from itself: {shown}"))
    return faults


def _twice(each: Record, sums: _Sums) -> list[Fault]:
    name = each.id or each.key
    if name is None:
        return []
    if name in sums.seen:
        return [Fault(each.line, "/id" if each.id else "/key", f"{name} comes twice in the file")]
    sums.seen.add(name)
    return []


def _some(reader: Read) -> list[Record | Relation | list[Fault]]:
    batch: list[Record | Relation | list[Fault]] = []
    try:
        batch += itertools.islice(reader, BATCH)
    except Unreadable as error:
        batch.append([Fault(error.line, "", error.reason)])
    return batch


async def _taken(
    session: AsyncSession, file: IO[bytes], form: FileFormat, asked: Asked, sums: _Sums
) -> AsyncIterator[bytes]:
    reader = _READERS[form](file)
    while batch := await offload.in_thread(_some, reader):
        records = [each for each in batch if isinstance(each, Record)]
        async for line in _batch(session, records, asked, sums):
            yield line
        sums.read += _records(batch)
        yield _line({"progress": {"taken": sums.read}})


async def _batch(session: AsyncSession, records: Sequence[Record], asked: Asked, sums: _Sums) -> AsyncIterator[bytes]:
    ids = [each.id for each in records if each.id is not None]
    numbers = [number for each in records if each.id is None and (number := number_of(each.key)) is not None]
    rows = await repository.known(session, ids, numbers)
    by_id, by_key = {row.id: row for row in rows}, {key_of(row.number): row for row in rows}
    gone = await repository.deleted(session, [id for id in ids if id not in by_id])
    creations: list[tuple[Record, Creation]] = []
    for each in records:
        row = by_id.get(each.id) if each.id is not None else by_key.get(each.key or "")
        try:
            if row is not None:
                sums.names[each.name] = row.id
                told = await _changed(session, row, each, asked, sums)
            else:
                _check_new(each, gone)
                content = RequirementContent.model_validate(dict(each.members))
                creations.append((each, Creation(content, asked.actor, asked.reason, id=each.id)))
                told = {"line": each.line, "action": "created", "title": content.title}
                sums.created += 1
        except PlumblineError as error:
            yield _refusal(each.line, error, sums)
            continue
        if told is not None and sums.told < MOST_CHANGES:
            sums.told += 1
            yield _line({"change": told})
    if creations and not asked.dry_run and not sums.faults:
        outcomes = await requirements.create(session, [creation for _, creation in creations])
        for record, creation in creations:
            if isinstance(outcome := outcomes[creation], PlumblineError):
                yield _refusal(record.line, outcome, sums)
            else:
                sums.names[record.name] = outcome.id


async def _linked(session: AsyncSession, asked: Asked, sums: _Sums) -> AsyncIterator[bytes]:
    """Link what was taken; links that there are stay as they are."""
    done: set[tuple[UUID, UUID, str]] = set()
    for place in range(0, len(sums.relations), BATCH):
        if sums.faults:
            return
        batch = sums.relations[place : place + BATCH]
        known = await repository.links_of(session, {id for each in batch if (id := sums.names.get(each.source))})
        for each in batch:
            assert each.type is not None
            source, target = sums.names.get(each.source), sums.names.get(each.target)
            if source is None or target is None:  # a dry run made no new ones
                sums.linked["created"] += 1
                continue
            link = (source, target, each.type.value)
            if link in known or link in done:
                sums.linked["unchanged"] += 1
                continue
            done.add(link)
            try:
                if not asked.dry_run:
                    content = LinkContent(source_id=source, target_id=target, type=each.type)
                    await links.create(session, content, asked.actor)
            except PlumblineError as error:
                yield _refusal(each.line, error, sums)
            else:
                sums.linked["created"] += 1
        yield _line({"progress": {"linked": place + len(batch)}})


def _check_new(each: Record, gone: set[UUID]) -> None:
    if each.id in gone:
        raise _Unfit("was deleted: leave its id out to make a new one of it", pointer="/id")
    if each.id is None and each.key is not None:
        raise _Unfit(f"there is no requirement {each.key}: leave the key out to make a new one", pointer="/key")
    if "title" not in each.members:
        raise _Unfit("a new requirement needs a title", pointer="/title")


class _Unfit(PlumblineError):
    slug = "invalid-request"


async def _changed(session: AsyncSession, row: Any, each: Record, asked: Asked, sums: _Sums) -> dict[str, Any] | None:
    before = {name: getattr(row, name) for name in WRITTEN}
    after = {**before, **each.members}
    differences = list(history.differences(before, after, frozenset()))
    if not differences:
        sums.unchanged += 1
        return None
    actor = asked.actor
    if asked.dry_run:
        status = RequirementStatus(row.status)
        requirement_rules.check_editable(status, row.owner_team, actor)
        requirement_rules.check_changeable(after["owner_team"], actor)
    else:
        tag = etag(row.revision)
        await requirements.rewrite(session, row.id, each.members, tag, actor, asked.reason)
    sums.updated += 1
    shown = [{"pointer": pointer, "before": old, "after": new} for pointer, old, new in differences[:20]]
    return {"line": each.line, "action": "updated", "key": key_of(row.number), "differences": shown}


def _refusal(line: int, error: PlumblineError, sums: _Sums) -> bytes:
    sums.faults += 1
    if sums.faults > MOST_FAULTS:
        return b""
    problem = problems.content_of(error)
    return _line(
        {"fault": {"line": line, "pointer": error.pointer or "", "detail": error.detail, "problem": problem}}
    )


def _told(fault: Fault) -> bytes:
    return _line({"fault": {"line": fault.line, "pointer": fault.member, "detail": fault.reason}})


def _line(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
