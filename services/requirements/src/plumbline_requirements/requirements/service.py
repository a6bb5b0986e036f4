"""What can be done with requirements: decide, write, stage."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db, offload, problems
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Invalid, NotFound, PlumblineError
from plumbline_common.events import (
    Event,
    LinkSuspected,
    RequirementCreated,
    RequirementDeleted,
    RequirementJudged,
    RequirementTransitioned,
    RequirementUpdated,
    SloChanged,
    SloDefined,
    SloRemoved,
    VerdictChanged,
)
from plumbline_common.preconditions import check_match
from plumbline_common.schemas import Indicator, RequirementSnapshot, RequirementStatus, Slo, utc
from plumbline_requirements.linting import rules as linting
from plumbline_requirements.linting.rules import Finding, Report, Subject
from plumbline_requirements.models import Requirement, key_of
from plumbline_requirements.requirements import repository, rules
from plumbline_requirements.requirements.schemas import (
    LintFinding,
    LintResponse,
    LintWarning,
    RequirementContent,
    RequirementPatch,
    RequirementResponse,
    VerdictView,
)

_EVENTS_AT_ONCE = 200
KeepAnswer = Callable[["Created"], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Creation:
    """A requirement that `actor` wants, in the context (trace, request id) of the request.

    `once` gives the row of an Idempotency-Key for the answer.
    """

    content: RequirementContent
    actor: UserInfo
    reason: str = ""
    once: KeepAnswer | None = None
    id: UUID | None = None
    """Which it shall have; a new one where it is left out."""
    context: Context = field(default_factory=copy_context)

    def __post_init__(self) -> None:
        rules.check_changeable(self.content.owner_team, self.actor)
        if self.content.status is not RequirementStatus.DRAFT:
            raise rules.IllegalTransition(
                "a requirement begins as draft", pointer="/status", legal=[RequirementStatus.DRAFT.value]
            )


@dataclass(frozen=True)
class Created:
    """A new requirement at revision 1, and the API's answer."""

    id: UUID
    document: str


async def create(session: AsyncSession, wanted: Sequence[Creation]) -> dict[Creation, Created | PlumblineError]:
    """One statement writes them all, so that the session need not be in a transaction.

    What can't be told of is its error. One that is not among the results had an Idempotency-Key that was taken.
    """
    outcomes: dict[Creation, Created | PlumblineError] = {}
    rows: dict[UUID, dict[str, Any]] = {}
    keys: set[tuple[str, str]] = set()
    numbers = await repository.draw_numbers(session, len(wanted))
    named = set().union(*(rules.indicator_references(creation.content.slos) for creation in wanted))
    indicators = await repository.indicators(session, named) if named else {}
    turns = offload.Turns()  # one with long texts takes many milliseconds
    for creation, number in zip(wanted, numbers, strict=True):
        await turns()
        try:
            created, row = creation.context.run(_new, creation, number, indicators)
        except PlumblineError as error:
            outcomes[creation] = error
            continue
        key = (creation.actor.subject, row.get("idempotency_key", str(created.id)))
        if key not in keys:
            keys.add(key)
            outcomes[creation] = created
            rows[created.id] = row
    written = await repository.insert(session, list(rows.values())) if rows else set()
    return {
        creation: outcome
        for creation, outcome in outcomes.items()
        if isinstance(outcome, PlumblineError) or outcome.id in written
    }


def _new(creation: Creation, number: int, indicators: Mapping[str, Indicator]) -> tuple[Created, dict[str, Any]]:
    content, subject = creation.content, creation.actor.subject
    if rules.indicator_references(content.slos):
        content = content.model_copy(update={"slos": rules.pinned(content.slos, indicators)})
    now = datetime.now(UTC)
    values = content.model_dump(mode="json")
    # Of what was validated: a second time would cost as much as all the rest.
    snapshot = RequirementSnapshot.model_construct(
        **content.__dict__,
        id=creation.id or db.new_id(),
        key=key_of(number),
        revision=1,
        fingerprint=rules.fingerprint(values),
        in_force=None,
        created_at=now,
        created_by=subject,
        updated_at=now,
        updated_by=subject,
    )
    response = RequirementResponse.model_construct(
        **snapshot.__dict__, reviewers=[], verdict=None, warnings=_warnings(content)
    )
    created = Created(snapshot.id, response.model_dump_json())
    row = repository.row_of_new(
        snapshot,
        number,
        values,
        created.document,
        RequirementCreated.model_construct(requirement=snapshot),
        reason=creation.reason,
        changed=sorted(content.model_fields_set),
    )
    return created, row | (creation.once(created) if creation.once else {})


async def change(
    session: AsyncSession,
    id: UUID,
    patch: RequirementPatch,
    if_match: str | None,
    actor: UserInfo,
    reason: str = "",
) -> RequirementResponse:
    """Apply a merge patch. What changes the content opens a draft; `status` then moves it on."""
    requirement = await repository.locked(session, id)
    check_match(requirement.revision, if_match)
    wanted = patch.model_dump(mode="json", exclude_unset=True)
    to = RequirementStatus(wanted.pop("status") or "draft") if "status" in wanted else None
    before = content_of(requirement)
    changed = await _edit(session, requirement, before, wanted, actor) if wanted else set()
    if to is not None and to != requirement.status:
        await _move(session, requirement, to, actor)
    elif not wanted and to is not None:
        rules.check_mover(to, to, requirement.owner_team, actor)
    if not changed and requirement.status == before["status"]:
        return await _with_links(session, _rendered(requirement))
    return await _changed(session, requirement, before, changed, actor, reason)


async def rewrite(
    session: AsyncSession, id: UUID, members: Mapping[str, Any], if_match: str | None, actor: UserInfo, reason: str
) -> RequirementResponse:
    """Replace members as a whole, which opens a draft where they differ."""
    requirement = await repository.locked(session, id)
    check_match(requirement.revision, if_match)
    before = content_of(requirement)
    changed = await _edit(session, requirement, before, members, actor, how="replace")
    if not changed:
        return await _with_links(session, _rendered(requirement))
    return await _changed(session, requirement, before, changed, actor, reason)


async def transition(
    session: AsyncSession,
    id: UUID,
    to: RequirementStatus,
    if_match: str | None,
    actor: UserInfo,
    reason: str = "",
    reviewers: Sequence[str] = (),
) -> RequirementResponse:
    """Move a requirement on. Raises `IllegalTransition` with the legal states, also where it is there already."""
    requirement = await repository.locked(session, id)
    check_match(requirement.revision, if_match)
    before = content_of(requirement)
    await _move(session, requirement, to, actor)
    if to is RequirementStatus.IN_REVIEW:
        requirement.reviewers = sorted(set(reviewers))
    return await _changed(session, requirement, before, set(), actor, reason)


async def restore(
    session: AsyncSession, id: UUID, revision: int, if_match: str | None, actor: UserInfo, reason: str
) -> RequirementResponse:
    """Make what an earlier revision said the draft of a new one."""
    requirement = await repository.locked(session, id)
    check_match(requirement.revision, if_match)
    earlier = await repository.snapshot(session, id, revision)
    before = content_of(requirement)
    wanted = {name: value for name, value in _content(earlier).items() if name != "status"}
    changed = await _edit(session, requirement, before, wanted, actor, how="restore")
    if not changed and requirement.status == before["status"]:
        return await _with_links(session, _rendered(requirement))
    return await _changed(session, requirement, before, changed, actor, reason or f"restores revision {revision}")


async def discard(
    session: AsyncSession, id: UUID, if_match: str | None, actor: UserInfo, reason: str
) -> RequirementResponse:
    """Give up a drafted change: what is in force becomes the present revision again."""
    requirement = await repository.locked(session, id)
    check_match(requirement.revision, if_match)
    rules.check_editable(RequirementStatus.DRAFT, requirement.owner_team, actor)
    rules.check_discardable(requirement.revision, requirement.in_force)
    assert requirement.in_force is not None
    in_force = await repository.snapshot(session, id, requirement.in_force)
    before = content_of(requirement)
    after = _content(in_force)
    for name, value in after.items():
        setattr(requirement, name, value)
    requirement.authors = []
    changed = {name for name in after if after[name] != before[name] and name != "status"}
    return await _changed(session, requirement, before, changed, actor, reason or "discards the drafted change")


async def delete(session: AsyncSession, id: UUID, if_match: str | None, actor: UserInfo, reason: str = "") -> None:
    """Delete a requirement that is not in force; its revisions and the audit log stay."""
    requirement = await repository.locked(session, id)
    check_match(requirement.revision, if_match)
    rules.check_changeable(requirement.owner_team, actor)
    rules.check_deletable(requirement.in_force)
    before = content_of(requirement)
    requirement.revision += 1
    requirement.updated_at = datetime.now(UTC)
    snapshot = _snapshot(requirement)
    event = RequirementDeleted(requirement_id=id, revision=requirement.revision, actor=actor.subject)
    await _doubt_links(session, requirement, gone=True)
    await repository.remove(
        session, before, repository.Change(snapshot, "deleted", actor.subject, reason, [], [event])
    )


async def as_of(session: AsyncSession, id: UUID, at: datetime) -> RequirementResponse:
    """The revision that was the present one then. Raises `NotFound` where it was not there yet, or no more."""
    found = await repository.document_at(session, id, at)
    if found is None or not found[1]:
        raise NotFound(f"at {utc(at)} there was no requirement with the id {id}")
    return RequirementResponse(
        **RequirementSnapshot.model_validate_json(found[1]).model_dump(), reviewers=[], verdict=None
    )


def lint(content: RequirementContent) -> LintResponse:
    """What is weak in a requirement that was not written yet."""
    report = _linted(content)
    return LintResponse(
        pattern=report.pattern,
        findings=[
            LintFinding.model_construct(pointer=f"/{each.member}", **_without_member(each))
            for each in report.findings
        ],
    )


def _without_member(finding: Finding) -> dict[str, Any]:
    return {name: value for name, value in finding._asdict().items() if name != "member"}


def _linted(content: RequirementContent | RequirementSnapshot) -> Report:
    return linting.lint(
        Subject(
            content.title,
            content.statement,
            content.description,
            content.rationale,
            content.verification_method,
            content.slos,
            tuple(content.labels.items()),
        )
    )


def _warnings(content: RequirementContent | RequirementSnapshot) -> list[LintWarning]:
    return [
        LintWarning.model_construct(
            rule=each.rule, severity=each.severity, pointer=f"/{each.member}", message=each.message
        )
        for each in _linted(content).findings
        if each.silenced is None
    ]


async def judge(session: AsyncSession, event: VerdictChanged) -> None:
    """Keep the newest verdict on a requirement; one on a requirement that is gone is of no use to anyone."""
    requirement = await repository.find_locked(session, event.verdict.requirement_id)
    if requirement is None:
        return
    if requirement.verdict is not None:
        known = datetime.fromisoformat(requirement.verdict["changed_at"])
        if known >= event.changed_at:
            return
    requirement.verdict = event.verdict.model_dump(mode="json", exclude={"requirement_id"}) | {
        "changed_at": event.changed_at.isoformat()
    }
    verdict = _rendered(requirement).verdict
    assert verdict is not None
    judged = RequirementJudged(
        requirement_id=requirement.id,
        revision=verdict.revision,
        state=verdict.state,
        stale=verdict.stale,
        service=requirement.service,
        owner_team=requirement.owner_team,
        reason=verdict.reason,
        changed_at=verdict.changed_at,
    )
    await repository.save_verdict(session, requirement, judged)


async def decide(
    session: AsyncSession, requirement: Requirement, actor: UserInfo, comment: str, to: RequirementStatus
) -> None:
    """What a review decided: move `requirement`, which is locked."""
    before = content_of(requirement)
    rules.check_transition(RequirementStatus(requirement.status), to, requirement.authors, actor)
    requirement.status = to.value
    await _changed(session, requirement, before, set(), actor, comment)


async def _edit(
    session: AsyncSession,
    requirement: Requirement,
    before: dict[str, Any],
    wanted: Any,
    actor: UserInfo,
    *,
    how: Literal["merge", "replace", "restore"] = "merge",
) -> set[str]:
    """Write new content into the row; it becomes a draft. Returns the members that changed.

    SLOs that are written pin the SLIs that they refer to as these are now; what is restored stays as it was.
    """
    status = RequirementStatus(requirement.status)
    rules.check_editable(status, requirement.owner_team, actor)
    content = _validated(rules.merged(before, wanted) if how == "merge" else {**before, **wanted})
    named = rules.indicator_references(content.slos) if "slos" in wanted and how != "restore" else set()
    if named:
        indicators = await repository.indicators(session, named)
        content = content.model_copy(update={"slos": rules.pinned(content.slos, indicators)})
    after = content.model_dump(mode="json")
    changed = {name for name in after if after[name] != before[name]}
    if not changed:
        return changed
    if "owner_team" in changed:
        rules.check_changeable(after["owner_team"], actor)
    for name in changed:
        setattr(requirement, name, after[name])
    begun = requirement.revision == requirement.in_force
    requirement.authors = sorted({actor.subject} if begun else {*requirement.authors, actor.subject})
    requirement.status = RequirementStatus.DRAFT.value
    requirement.reviewers = []
    return changed


async def _move(session: AsyncSession, requirement: Requirement, to: RequirementStatus, actor: UserInfo) -> None:
    now = RequirementStatus(requirement.status)
    rules.check_transition(now, to, requirement.authors, actor)
    rules.check_mover(now, to, requirement.owner_team, actor)
    if to is RequirementStatus.APPROVED:
        approved_by = await repository.approved_by(session, requirement.id, requirement.revision)
        required = await repository.required_approvals(session, requirement.owner_team)
        rules.check_approvals(approved_by, actor, required)
    requirement.status = to.value


async def _changed(
    session: AsyncSession,
    requirement: Requirement,
    before: dict[str, Any],
    changed: Collection[str],
    actor: UserInfo,
    reason: str,
) -> RequirementResponse:
    """Make the next revision of what was written into the row."""
    previous, status = before["status"], RequirementStatus(requirement.status)
    requirement.revision += 1
    in_force_before = requirement.in_force
    requirement.in_force = rules.in_force_after(requirement.revision, status, requirement.in_force)
    fingerprint_before = requirement.fingerprint
    requirement.fingerprint = rules.fingerprint(content_of(requirement))
    requirement.updated_at = datetime.now(UTC)
    requirement.updated_by = actor.subject
    response = _rendered(requirement)
    snapshot = _snapshot(requirement)
    in_force = await _other_in_force(session, requirement)
    events: list[Event] = []
    if changed:
        events.append(RequirementUpdated(requirement=snapshot, in_force=in_force, changed=sorted(changed)))
    if previous != status:
        events.append(
            RequirementTransitioned(
                requirement=snapshot, in_force=in_force, previous=previous, actor=actor.subject, reason=reason
            )
        )
    if requirement.in_force != in_force_before:
        events += await _told_of_slos(session, requirement, in_force_before)
    if requirement.fingerprint != fingerprint_before:
        await _doubt_links(session, requirement)
    action = "updated" if changed else "transitioned"
    members = sorted({*changed, *({"status"} if previous != status else ())})
    await repository.save(
        session,
        requirement,
        before,
        repository.Change(snapshot, action, actor.subject, reason, members, events),
    )
    return await _with_links(session, response)


async def _told_of_slos(session: AsyncSession, requirement: Requirement, before: int | None) -> list[Event]:
    """What production is held against now that it was not before, and the other way round."""

    async def in_force(revision: int | None) -> dict[str, Slo]:
        if revision is None:
            return {}
        if revision == requirement.revision:
            slos = _snapshot(requirement).slos
        else:
            slos = (await repository.snapshot(session, requirement.id, revision)).slos
        return {slo.name: slo for slo in slos}

    old, new = await in_force(before), await in_force(requirement.in_force)
    about = {
        "requirement_id": requirement.id,
        "requirement_key": requirement.key,
        "requirement_revision": requirement.in_force or requirement.revision,
        "service": requirement.service,
        "owner_team": requirement.owner_team,
        "at": requirement.updated_at,
    }
    told: list[Event] = [SloDefined(slo=new[name], **about) for name in new if name not in old]
    told += [
        SloChanged(slo=new[name], previous=old[name], **about)
        for name in new
        if name in old and new[name] != old[name]
    ]
    return told + [SloRemoved(slo=old[name], **about) for name in old if name not in new]


async def _doubt_links(session: AsyncSession, target: Requirement, *, gone: bool = False) -> None:
    """Make links to what has changed suspect, and tell of those that were not so before."""
    fingerprint = "" if gone else target.fingerprint
    suspects = await repository.doubt(session, target.id, fingerprint, target.updated_at)
    for begin in range(0, len(suspects), _EVENTS_AT_ONCE):
        await repository.tell(
            session,
            [
                LinkSuspected(
                    link_id=row.id,
                    type=row.type,
                    requirement_id=row.source_id,
                    target_id=target.id,
                    target_key=target.key,
                    target_revision=target.revision,
                    service=row.service,
                    owner_team=row.owner_team,
                    at=target.updated_at,
                )
                for row in suspects[begin : begin + _EVENTS_AT_ONCE]
            ],
        )


async def _with_links(session: AsyncSession, response: RequirementResponse) -> RequirementResponse:
    suspects = await repository.suspect_links(session, response.id)
    return response.model_copy(update={"suspect_links": suspects}) if suspects else response


async def _other_in_force(session: AsyncSession, requirement: Requirement) -> RequirementSnapshot | None:
    if requirement.in_force in (None, requirement.revision):
        return None
    assert requirement.in_force is not None
    return await repository.snapshot(session, requirement.id, requirement.in_force)


def _validated(content: dict[str, Any]) -> RequirementContent:
    try:
        return RequirementContent.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise Invalid(first["msg"].removeprefix("Value error, "), pointer=problems.pointer(first["loc"])) from None


def content_of(requirement: Requirement) -> dict[str, Any]:
    """What people write, as JSON-ready values."""
    return {name: getattr(requirement, name) for name in RequirementContent.model_fields}


def _content(snapshot: RequirementSnapshot) -> dict[str, Any]:
    return snapshot.model_dump(mode="json", include=set(RequirementContent.model_fields))


def _snapshot(requirement: Requirement) -> RequirementSnapshot:
    return RequirementSnapshot.model_validate(requirement)


def _rendered(requirement: Requirement) -> RequirementResponse:
    """The API's answer, also kept in the row: every write passes here."""
    judged = requirement.in_force or requirement.revision
    verdict = requirement.verdict and VerdictView.model_validate(
        requirement.verdict | {"stale": requirement.verdict["revision"] != judged}
    )
    snapshot = _snapshot(requirement)
    response = RequirementResponse(
        **snapshot.model_dump(), reviewers=requirement.reviewers, verdict=verdict, warnings=_warnings(snapshot)
    )
    requirement.document = response.model_dump_json()
    return response
