"""What can be done with OpenSLO: plan an import, do it, write what there is."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import orjson
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import audit, db, offload
from plumbline_common.auth import UserInfo
from plumbline_common.errors import PlumblineError
from plumbline_common.openslo import checking, prometheus, slos, writing
from plumbline_common.openslo.checking import Finding, Located
from plumbline_common.openslo.objects import KINDS, OBJECTS, SLO, Object
from plumbline_common.openslo.prometheus import NotForPrometheus
from plumbline_common.preconditions import check_match, etag
from plumbline_common.schemas import RequirementStatus, Slo
from plumbline_requirements.history import rules as history
from plumbline_requirements.models import OpenSloObject, number_of
from plumbline_requirements.openslo import repository, rules
from plumbline_requirements.openslo.rules import Given, Key, NotImportable, Pinning
from plumbline_requirements.openslo.schemas import (
    AnyKind,
    Difference,
    ImportChange,
    ImportResponse,
    Named,
    Place,
    SharedKind,
    SharedObject,
    SharedObjectPage,
    Which,
)
from plumbline_requirements.requirements import rules as requirement_rules
from plumbline_requirements.requirements import service as requirements
from plumbline_requirements.requirements.schemas import RequirementContent, RequirementPatch
from plumbline_requirements.requirements.service import Created, Creation

BATCH = 100
_FIRST = UUID(int=0)
_TITLE = 500


# --- Import ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """How to import. `owner_team` owns the requirements that are made."""

    actor: UserInfo
    dry_run: bool
    owner_team: str | None
    reason: str


@dataclass
class _Edit:
    """What an import makes of a requirement: its SLOs, and why."""

    before: Pinning
    slos: list[Slo]
    changed: bool = False


_Subject = tuple[str, str, UUID | str]
"""Kind, name and requirement of what changes; of a requirement that is to be made, what the SLO says of it."""


@dataclass
class _Plan:
    changes: dict[_Subject, ImportChange] = field(default_factory=dict)
    warnings: list[Finding] = field(default_factory=list)
    objects: dict[Key, dict[str, Any]] = field(default_factory=dict)
    creations: dict[_Subject, Creation] = field(default_factory=dict)
    edits: dict[UUID, _Edit] = field(default_factory=dict)


async def parse(text: str) -> Given:
    """The objects of a text. Raises `NotImportable` with every error and its place."""
    return await offload.in_thread(_parsed, text)


def _parsed(text: str) -> Given:
    parsed = checking.parse({"": text})
    found = rules.given(parsed.objects)
    _refuse([*parsed.findings, *found.findings])
    return found


async def import_(session: AsyncSession, found: Given, asked: Asked) -> ImportResponse:
    """All of it or nothing. Raises `NotImportable`, and what a change of a requirement raises."""
    if not asked.dry_run:
        await repository.lock(session)
    plan = await _plan(session, found, asked)
    if not asked.dry_run:
        await _do(session, plan, asked)
    actions = [change.action for change in plan.changes.values()]
    return ImportResponse(
        dry_run=asked.dry_run,
        created=actions.count("created"),
        updated=actions.count("updated"),
        unchanged=actions.count("unchanged"),
        changes=list(plan.changes.values()),
        warnings=[_place(each) for each in plan.warnings[: rules.MOST_FINDINGS]],
    )


async def _plan(session: AsyncSession, found: Given, asked: Asked) -> _Plan:
    turns = offload.Turns()
    located = [*found.shared.values(), *(each for each, _ in found.slos.values())]
    names = {*found.shared, *await offload.in_thread(_references, located)}
    stored = await repository.objects(session, names)
    findings = [*found.findings, *await offload.in_thread(_together, located, list(stored.values()))]
    _refuse(findings)
    plan = _Plan(warnings=findings)
    for key, each in found.shared.items():
        before = stored[key].document if key in stored else None
        after = writing.document(each.object)
        plan.changes[(*key, "")] = _change(each.object.kind, each.object.name, before, after)
        if before != after:
            plan.objects[key] = after
        await turns()
    await _plan_slos(session, found, plan, asked, turns)
    return plan


def _references(located: Sequence[Located]) -> set[Key]:
    return {key for each in located for key in checking.references(each.object)}


def _together(located: Sequence[Located], stored: Sequence[OpenSloObject]) -> list[Finding]:
    return list(checking.together(located, [OBJECTS[row.kind].model_validate(row.document) for row in stored]))


async def _plan_slos(session: AsyncSession, found: Given, plan: _Plan, asked: Asked, turns: offload.Turns) -> None:
    slis = {name for kind, name in plan.objects if kind == "SLI"}
    names = {slo.name for _, slo in found.slos.values()}
    keys = {rules.named_requirement(slo) for _, slo in found.slos.values()}
    rows = await repository.pinning(session, names, slis, {number for key in keys if (number := number_of(key))})
    by_key = {row.key: row for row in rows}
    by_name: dict[str, list[Pinning]] = {}
    for row in rows:
        for slo in row.slos:
            by_name.setdefault(slo.name, []).append(row)
    errors: list[Finding] = []
    for located, slo in found.slos.values():
        await turns()
        row_of, findings = rules.owner(located, slo, by_name.get(slo.name, []), by_key)
        errors += [each for each in findings if each.severity == "error"]
        plan.warnings += [each for each in findings if each.severity == "warning"]
        if row_of is None:
            _create(plan, located.object, slo, asked)
        else:
            _edit(plan, row_of, slo)
    _refuse(errors)
    for row in rows:
        await turns()
        _pin_anew(plan, row, slis)
    for edit in plan.edits.values():
        await turns()
        if edit.changed:
            _check_editable(edit, asked.actor)


def _create(plan: _Plan, thing: Object, slo: Slo, asked: Asked) -> None:
    assert isinstance(thing, SLO)
    content = RequirementContent(
        title=(thing.metadata.display_name or thing.name).strip()[:_TITLE] or thing.name,
        description=slo.description or "",
        service=slo.service,
        owner_team=asked.owner_team,
        slos=[rules.kept(slo, slo.service)],
    )
    subject = ("SLO", slo.name, rules.named_requirement(slo) or "")
    plan.changes[subject] = _change("SLO", slo.name, None, {})
    plan.creations[subject] = Creation(content, asked.actor, asked.reason)


def _edit(plan: _Plan, row: Pinning, slo: Slo) -> None:
    wanted = rules.kept(slo, row.service)
    edit = plan.edits.setdefault(row.id, _Edit(row, list(row.slos)))
    before = row.find(slo.name)
    documents = [None if each is None else slos.document_of(each, row.service) for each in (before, wanted)]
    plan.changes["SLO", slo.name, row.id] = _change("SLO", slo.name, documents[0], documents[1] or {}, row)
    if documents[0] != documents[1]:
        edit.changed = True
        edit.slos = [each for each in edit.slos if each.name != slo.name]
        place = len(edit.slos) if before is None else list(row.slos).index(before)
        edit.slos.insert(place, wanted)


def _pin_anew(plan: _Plan, row: Pinning, slis: set[str]) -> None:
    """A requirement pins an SLI as it was: where the SLI changes, it gets a new revision."""
    edit = plan.edits.get(row.id) or _Edit(row, list(row.slos))
    for slo in edit.slos:
        moved = sorted(requirement_rules.indicator_references([slo]) & slis)
        if moved and row.status != "deprecated":  # which nobody can change any more
            plan.edits[row.id] = edit
            edit.changed = True
            told = plan.changes.get(("SLO", slo.name, row.id)) or _change("SLO", slo.name, {}, {}, row)
            action: Literal["created", "updated"] = "created" if told.action == "created" else "updated"
            because = f"the SLI {' and '.join(moved)} changes"
            plan.changes["SLO", slo.name, row.id] = told.model_copy(update={"action": action, "because": because})


def _check_editable(edit: _Edit, actor: UserInfo) -> None:
    row = edit.before
    try:
        requirement_rules.check_editable(RequirementStatus(row.status), row.owner_team, actor)
        RequirementPatch(slos=edit.slos)
    except PlumblineError as error:
        raise type(error)(f"{row.key} ({row.title[:80]}): {error.detail}") from None
    except ValidationError as error:
        raise NotImportable(f"{row.key}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


async def _do(session: AsyncSession, plan: _Plan, asked: Asked) -> None:
    actor, now = asked.actor.subject, datetime.now(UTC)
    if plan.objects:
        revisions = await repository.save(session, plan.objects, actor, now)
        for key, document in plan.objects.items():
            await _audited(session, key, "updated" if revisions[key] > 1 else "created", asked, now, document)
    subjects = list(plan.creations)
    for place in range(0, len(subjects), BATCH):
        batch = subjects[place : place + BATCH]
        outcomes = await requirements.create(session, [plan.creations[subject] for subject in batch])
        for subject in batch:
            outcome = outcomes[plan.creations[subject]]
            if not isinstance(outcome, Created):
                raise outcome
            written = orjson.loads(outcome.document)
            made = Named(id=outcome.id, key=written["key"], title=written["title"], revision=1)
            plan.changes[subject] = plan.changes[subject].model_copy(update={"requirement": made})
    revisions_of: dict[UUID, int] = {}
    for edit in sorted(plan.edits.values(), key=lambda each: each.before.id):
        if not edit.changed:
            continue
        row, patch = edit.before, RequirementPatch(slos=edit.slos)
        tag = etag(row.revision)
        done = await requirements.change(session, row.id, patch, tag, asked.actor, asked.reason)
        revisions_of[row.id] = done.revision
    for subject, change in plan.changes.items():
        if (named := change.requirement) is not None and named.id in revisions_of:
            named = named.model_copy(update={"revision": revisions_of[named.id]})
            plan.changes[subject] = change.model_copy(update={"requirement": named})


async def _audited(
    session: AsyncSession, key: Key, action: str, asked: Asked, at: datetime, document: dict[str, Any] | None
) -> None:
    entry = audit.row_of(
        action,
        "openslo",
        "/".join(key),
        asked.actor.subject,
        at,
        reason=asked.reason,
        document=None if document is None else orjson.dumps(document).decode(),
    )
    await audit.stage(session, entry)


def _change(
    kind: AnyKind,
    name: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any],
    row: Pinning | None = None,
) -> ImportChange:
    named = None if row is None else Named(id=row.id, key=row.key, title=row.title, revision=row.revision)
    if before is None:
        return ImportChange(kind=kind, name=name, action="created", requirement=named)
    differences = [
        Difference(pointer=pointer, before=old, after=new)
        for pointer, old, new in history.differences(before, after, frozenset())
    ]
    action: Literal["updated", "unchanged"] = "updated" if differences else "unchanged"
    return ImportChange(kind=kind, name=name, action=action, requirement=named, differences=differences)


def _refuse(findings: Iterable[Finding]) -> None:
    """Raise where one of them is an error."""
    errors = sorted(each for each in findings if each.severity == "error")
    if errors:
        first = errors[0]
        detail = f"line {first.line}, column {first.column}: {first.pointer or '/'} {first.reason}"
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        shown = [_place(each).model_dump() for each in errors[: rules.MOST_FINDINGS]]
        raise NotImportable(detail + more, errors=shown)


def _place(finding: Finding) -> Place:
    return Place(
        line=finding.line,
        column=finding.column,
        document=finding.document,
        pointer=finding.pointer,
        subject=finding.subject,
        detail=finding.reason,
    )


# --- Shared objects -------------------------------------------------------------------------------------


async def page(session: AsyncSession, kind: SharedKind | None, skip: int, limit: int) -> SharedObjectPage:
    rows, total = await repository.page(session, kind, skip, limit)
    return SharedObjectPage(items=[repository.shown(row) for row in rows], total=total)


async def read(session: AsyncSession, kind: SharedKind, name: str) -> SharedObject:
    return repository.shown(await repository.one(session, kind, name))


async def delete(session: AsyncSession, key: Key, if_match: str | None, actor: UserInfo, reason: str) -> None:
    """Delete what no SLO of a requirement pins."""
    kind, name = key
    await repository.lock(session)
    row = await repository.one(session, kind, name, lock=True)
    check_match(row.revision, if_match)
    if kind == "SLI" and (numbers := await repository.users(session, name)):
        raise rules.InUse(f"the SLI is used by {', '.join(f'REQ-{number}' for number in numbers)}")
    await repository.remove(session, kind, name)
    await _audited(session, key, "deleted", Asked(actor, False, None, reason), datetime.now(UTC), None)


# --- Export ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """What to write."""

    kinds: Sequence[str]
    service: str | None
    owner_team: str | None
    which: Which
    json: bool

    @property
    def everything(self) -> bool:
        return self.service is None and self.owner_team is None


async def export(sessions: db.Sessions, wanted: Wanted) -> AsyncIterator[bytes]:
    """SLOs and what they share, some documents at a time; of one service or team, what its SLOs refer to."""
    count = 0
    needed: set[Key] = set()
    async for documents in _documents(sessions, wanted, needed):
        yield await offload.in_thread(_written, documents, wanted.json, count == 0)
        count += len(documents)
    if wanted.json:
        yield b"]\n" if count else b"[]\n"
    else:
        yield f"# {count} {'object' if count == 1 else 'objects'}\n".encode()  # a text that broke off lacks this


async def _documents(sessions: db.Sessions, wanted: Wanted, needed: set[Key]) -> AsyncIterator[list[dict[str, Any]]]:
    if "SLO" in wanted.kinds or not wanted.everything:
        async for rows in _rows(sessions, wanted):
            documents = await offload.in_thread(_exported, rows)
            if not wanted.everything:
                needed |= await offload.in_thread(_needs, documents)
            if "SLO" in wanted.kinds:
                yield documents
    kinds = [kind for kind in wanted.kinds if kind != "SLO"]
    if wanted.everything:
        last: Key = ("", "")
        while True:
            async with sessions() as session:
                found = await repository.after(session, kinds, last, BATCH)
            if not found:
                return
            last = (found[-1].kind, found[-1].name)
            yield [row.document for row in found]
    done: set[Key] = set()
    while needed - done:
        async with sessions() as session:
            rows_of = await repository.objects(session, sorted(needed - done)[:BATCH])
        done |= set(sorted(needed - done)[:BATCH])
        documents = [row.document for row in rows_of.values()]
        for document in documents:
            needed |= set(checking.references(OBJECTS[document["kind"]].model_validate(document)))
        if shown := [document for document in documents if document["kind"] in kinds]:
            yield shown


async def _rows(sessions: db.Sessions, wanted: Wanted) -> AsyncIterator[list[Pinning]]:
    last = _FIRST
    while True:
        async with sessions() as session:
            rows = await repository.with_slos(session, wanted.which, wanted.service, wanted.owner_team, last, BATCH)
        if not rows:
            return
        yield rows
        last = rows[-1].id


def _exported(rows: Sequence[Pinning]) -> list[dict[str, Any]]:
    return [rules.exported(slo, row.service, row.key) for row in rows for slo in row.slos]


def _needs(documents: Sequence[dict[str, Any]]) -> set[Key]:
    found: set[Key] = set()
    for document in documents:
        thing = SLO.model_validate(document)
        found |= {("Service", thing.spec.service), *checking.references(thing)}
    return found


def _written(documents: Sequence[dict[str, Any]], as_json: bool, first: bool) -> bytes:
    if as_json:
        opening = b"[" if first else b","
        return opening + b",".join(map(orjson.dumps, documents))
    return "".join(f"---\n{writing.dump(each)}" for each in documents).encode()


async def export_rules(sessions: db.Sessions, wanted: Wanted) -> AsyncIterator[bytes]:
    """A Prometheus rule file of all SLOs that Prometheus can measure. Comments tell of the others, and the sum."""
    async with sessions() as session:
        sources = [
            OBJECTS[row.kind].model_validate(row.document)
            for row in await repository.after(session, ["DataSource"], ("", ""), 10_000)
        ]
    written = left = 0
    yield b"groups:\n"
    async for rows in _rows(sessions, wanted):
        text, made, skipped = await offload.in_thread(_rules_of, rows, sources)
        written, left = written + made, left + skipped
        yield text
    if not written:
        yield b"  []\n"
    yield f"# {written} of {written + left} SLOs\n".encode()


def _rules_of(rows: Sequence[Pinning], sources: Sequence[Object]) -> tuple[bytes, int, int]:
    parts: list[str] = []
    made = skipped = 0
    for row in rows:
        for slo in row.slos:
            thing = SLO.model_validate(slos.document_of(rules.with_own_indicators(slo), row.service))
            try:
                groups = prometheus.rules(thing, sources)
            except NotForPrometheus as error:
                skipped += 1
                parts.append(f"# {row.key}, {slo.name}: {error.reason}\n".replace("\n", " ").rstrip() + "\n")
                continue
            made += 1
            for group in groups:
                group["name"] = f"{group['name']}-{row.key.lower()}"
            parts.append("".join(f"  {line}\n" for line in writing.dump(groups).splitlines()))
    return "".join(parts).encode(), made, skipped


ALL_KINDS = KINDS
