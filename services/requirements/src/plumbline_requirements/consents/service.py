"""What happens to what somebody asked for."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import audit
from plumbline_common.auth import UserInfo
from plumbline_common.preconditions import check_match
from plumbline_requirements.consents import rules
from plumbline_requirements.consents.rules import Status
from plumbline_requirements.consents.schemas import Consented, Decision, DecisionContent, RevocationContent
from plumbline_requirements.models import ConsentColumns

_OUTCOMES = {Decision.APPROVE: Status.APPROVED, Decision.REJECT: Status.REJECTED}
MEMBERS = tuple(name for name in Consented.model_fields if name != "status")
"""The columns that are told as they are; what the status is, the clock may know better."""


def asked(actor: UserInfo, now: datetime) -> dict[str, Any]:
    """The columns of what `actor` begins to ask for."""
    return {
        "status": Status.REQUESTED.value,
        "revision": 1,
        "requested_at": now,
        "requested_by": actor.subject,
        "decided_at": None,
        "decided_by": None,
        "decision_comment": "",
        "revoked_at": None,
        "revoked_by": None,
        "revocation_reason": "",
    }


def decide(
    thing: ConsentColumns,
    status: Status,
    content: DecisionContent,
    if_match: str | None,
    actor: UserInfo,
    now: datetime,
) -> None:
    """Approve or reject a locked row that is in `status` by the clock. Raises `IllegalTransition`, `OwnRequest`."""
    _move(thing, status, _OUTCOMES[content.decision], if_match)
    rules.check_decider(thing.requested_by, actor)
    thing.decided_at, thing.decided_by, thing.decision_comment = now, actor.subject, content.comment


def revoke(
    thing: ConsentColumns,
    status: Status,
    content: RevocationContent,
    if_match: str | None,
    actor: UserInfo,
    now: datetime,
) -> None:
    """End a locked row that was approved. Raises `IllegalTransition`."""
    _move(thing, status, Status.REVOKED, if_match)
    thing.revoked_at, thing.revoked_by, thing.revocation_reason = now, actor.subject, content.reason


def _move(thing: ConsentColumns, status: Status, to: Status, if_match: str | None) -> None:
    check_match(thing.revision, if_match)
    rules.check_transition(status, to)
    thing.status = to.value
    thing.revision += 1


async def audited(
    session: AsyncSession,
    entity: str,
    id: UUID,
    thing: ConsentColumns,
    written: Consented,
    members: set[str],
    actor: UserInfo,
    now: datetime,
    reason: str,
) -> None:
    """Put the present revision into the audit log, as it is told; `members` are those that the first has."""
    entry = audit.row_of(
        thing.status,
        entity,
        str(id),
        actor.subject,
        now,
        revision=thing.revision,
        reason=reason,
        changed=["status"] if thing.revision > 1 else sorted(members),
        document=written.model_dump_json(),
    )
    await audit.stage(session, entry)
