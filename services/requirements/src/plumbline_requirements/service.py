"""What can be done with requirements: decide, write, stage."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db, outbox
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Invalid
from plumbline_common.events import (
    RequirementCreated,
    RequirementDeleted,
    RequirementTransitioned,
    RequirementUpdated,
    VerdictChanged,
)
from plumbline_common.schemas import RequirementSnapshot, RequirementStatus
from plumbline_requirements import repository, rules
from plumbline_requirements.models import Requirement
from plumbline_requirements.schemas import (
    RequirementContent,
    RequirementPatch,
    RequirementResponse,
    VerdictView,
)


async def create(session: AsyncSession, content: RequirementContent, actor: UserInfo) -> RequirementResponse:
    rules.check_changeable(content.owner_team, actor)
    if content.status is not RequirementStatus.DRAFT:
        raise rules.IllegalTransition(
            "a requirement begins as draft", pointer="/status", legal=[RequirementStatus.DRAFT.value]
        )
    now = datetime.now(UTC)
    values = content.model_dump(mode="json")
    requirement = Requirement(
        id=db.new_id(),
        number=await repository.draw_number(session),
        revision=1,
        fingerprint=rules.fingerprint(values),
        created_at=now,
        created_by=actor.subject,
        updated_at=now,
        updated_by=actor.subject,
        authored_by=actor.subject,
        verdict=None,
        document="",
        **values,
    )
    session.add(requirement)
    response = await _written(session, requirement)
    await outbox.stage(session, RequirementCreated(requirement=_snapshot(requirement)))
    return response


async def change(
    session: AsyncSession, id: UUID, patch: RequirementPatch, if_match: str | None, actor: UserInfo
) -> RequirementResponse:
    requirement = await repository.locked(session, id)
    rules.check_match(requirement.revision, if_match)
    before = _content(requirement)
    after = _validated(rules.merged(before, patch.model_dump(mode="json", exclude_unset=True)))
    changed = {name for name in after if after[name] != before[name]}
    rules.check_content_changeable(changed or set(patch.model_fields_set), requirement.owner_team, actor)
    if not changed:
        return _response(requirement)
    if "owner_team" in changed:
        rules.check_changeable(after["owner_team"], actor)
    previous = RequirementStatus(requirement.status)
    if "status" in changed:
        author = actor.subject if changed - {"status"} else requirement.authored_by
        rules.check_transition(previous, RequirementStatus(after["status"]), author, actor)
    for name in changed:
        setattr(requirement, name, after[name])
    requirement.revision += 1
    requirement.fingerprint = rules.fingerprint(after)
    requirement.updated_at = datetime.now(UTC)
    requirement.updated_by = actor.subject
    if changed - {"status"}:
        requirement.authored_by = actor.subject
    response = await _written(session, requirement)
    snapshot = _snapshot(requirement)
    if changed - {"status"}:
        await outbox.stage(session, RequirementUpdated(requirement=snapshot, changed=sorted(changed)))
    if "status" in changed:
        await outbox.stage(
            session, RequirementTransitioned(requirement=snapshot, previous=previous, actor=actor.subject)
        )
    return response


async def delete(session: AsyncSession, id: UUID, if_match: str | None, actor: UserInfo) -> None:
    requirement = await repository.locked(session, id)
    rules.check_match(requirement.revision, if_match)
    rules.check_changeable(requirement.owner_team, actor)
    await session.delete(requirement)
    await outbox.stage(
        session,
        RequirementDeleted(requirement_id=id, revision=requirement.revision + 1, actor=actor.subject),
    )


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
    await _written(session, requirement)


def _validated(content: dict[str, Any]) -> dict[str, Any]:
    try:
        return RequirementContent.model_validate(content).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        pointer = "".join(f"/{part}" for part in first["loc"])
        raise Invalid(first["msg"].removeprefix("Value error, "), pointer=pointer) from None


def _content(requirement: Requirement) -> dict[str, Any]:
    return {name: getattr(requirement, name) for name in RequirementContent.model_fields}


def _snapshot(requirement: Requirement) -> RequirementSnapshot:
    return RequirementSnapshot.model_validate(requirement)


def _response(requirement: Requirement) -> RequirementResponse:
    verdict = requirement.verdict and VerdictView.model_validate(
        requirement.verdict | {"stale": requirement.verdict["revision"] != requirement.revision}
    )
    return RequirementResponse(**_snapshot(requirement).model_dump(), verdict=verdict)


async def _written(session: AsyncSession, requirement: Requirement) -> RequirementResponse:
    """Every write ends here: the document is what the columns say."""
    response = _response(requirement)
    requirement.document = response.model_dump_json()
    await session.flush()
    return response
