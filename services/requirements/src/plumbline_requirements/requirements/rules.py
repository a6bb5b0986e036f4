"""What may happen to a requirement, decided without I/O."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from plumbline_common.auth import UserInfo
from plumbline_common.errors import Conflict, Forbidden, Invalid
from plumbline_common.schemas import Indicator, Slo
from plumbline_common.schemas import RequirementStatus as Status

LEGAL: Mapping[Status, tuple[Status, ...]] = {
    Status.DRAFT: (Status.IN_REVIEW,),
    Status.IN_REVIEW: (Status.APPROVED, Status.DRAFT, Status.REJECTED),
    Status.APPROVED: (Status.ACTIVE,),
    Status.ACTIVE: (Status.DEPRECATED,),
    Status.DEPRECATED: (Status.RETIRED,),
    Status.REJECTED: (),
    Status.RETIRED: (),
}
_DECISIONS = (Status.APPROVED, Status.REJECTED)
_DEMANDS = ("title", "statement", "type", "priority", "service", "slos", "verification_method")


class IllegalTransition(Conflict):
    slug = "illegal-transition"
    title = "The requirement cannot go to that state from where it is"


class OwnRevision(Conflict):
    slug = "own-revision"
    title = "The author of a revision cannot decide on it"


class NotYourTeam(Forbidden):
    slug = "not-your-team"
    title = "A team's requirements are changed by that team or an admin"


class NotEditable(Conflict):
    slug = "not-editable"
    title = "What the requirement says cannot be changed in this state"


class InForce(Conflict):
    slug = "in-force"
    title = "Production is held against the requirement"


class NothingDrafted(Conflict):
    slug = "nothing-drafted"
    title = "There is no drafted change to give up"


class ApprovalsMissing(Conflict):
    slug = "approvals-missing"
    title = "More reviewers must approve"


def check_transition(now: Status, to: Status, authors: Sequence[str], actor: UserInfo) -> None:
    """Raise unless `actor` may take a requirement whose content `authors` wrote from `now` to `to`."""
    if to not in LEGAL[now]:
        legal = [state.value for state in LEGAL[now]]
        raise IllegalTransition(
            f"from {now.value} it can go to {' or '.join(legal) or 'no other state'}",
            pointer="/status",
            legal=legal,
        )
    if to in _DECISIONS:
        check_reviewer(authors, actor)


def check_reviewer(authors: Sequence[str], actor: UserInfo) -> None:
    """Raise unless `actor` may decide on content that `authors` wrote."""
    if not actor.may("reviewer"):
        raise Forbidden("a reviewer approves or rejects")
    if actor.subject in authors:
        raise OwnRevision("another reviewer must decide on it")


def check_mover(now: Status, to: Status, owner_team: str | None, actor: UserInfo) -> None:
    """Raise unless `actor` may move the requirement at all: reviewers decide and send back, editors do the rest."""
    if now is Status.IN_REVIEW and actor.may("reviewer"):
        return
    if to in _DECISIONS:
        raise Forbidden("a reviewer approves or rejects")
    if not actor.may("editor"):
        raise Forbidden("an editor of the team that owns it moves it on")
    check_changeable(owner_team, actor)


def check_approvals(approved_by: Collection[str], actor: UserInfo, required: int) -> None:
    """Raise unless `actor`'s approval is the last that was missing."""
    given = {*approved_by, actor.subject}
    if len(given) < required:
        raise ApprovalsMissing(
            f"{len(given)} of {required} approvals with yours; give it as a review, and the last one approves",
            required=required,
            approved_by=sorted(approved_by),
        )


def check_changeable(owner_team: str | None, actor: UserInfo) -> None:
    """Raise unless `actor` belongs to the team that owns the requirement."""
    if owner_team is not None and owner_team not in actor.teams and not actor.may("admin"):
        raise NotYourTeam(f"it belongs to the team {owner_team}")


def check_editable(status: Status, owner_team: str | None, actor: UserInfo) -> None:
    """Raise unless `actor` may change what the requirement says."""
    if not actor.may("editor"):
        raise Forbidden("an editor changes what a requirement says")
    check_changeable(owner_team, actor)
    if status in (Status.DEPRECATED, Status.RETIRED):
        raise NotEditable(f"it is {status.value}; write another requirement", pointer="/status")


def check_deletable(in_force: int | None) -> None:
    """Raise where production is held against some revision of it."""
    if in_force is not None:
        raise InForce(f"its revision {in_force} is in force: deprecate and retire it, its history stays")


def check_discardable(revision: int, in_force: int | None) -> None:
    """Raise where no earlier revision is in force to go back to."""
    if in_force is None or in_force == revision:
        raise NothingDrafted("there is no drafted change of a requirement that is in force")


def in_force_after(revision: int, status: Status, before: int | None) -> int | None:
    """The revision in force once `revision` is in `status`, where `before` was: drafts leave it as it is."""
    if status.in_force:
        return revision
    return None if status is Status.RETIRED else before


def indicator_references(slos: Iterable[Slo]) -> set[str]:
    """The names of the SLIs that they refer to."""
    named = {slo.indicator_ref for slo in slos} | {each.indicator_ref for slo in slos for each in slo.objectives}
    return {name for name in named if name is not None}


def pinned(slos: Sequence[Slo], known: Mapping[str, Indicator]) -> list[Slo]:
    """The same with each SLI that they refer to as it is now, or without it where there is none of the name.

    Raises `Invalid` where an SLI and the objectives on it do not fit.
    """
    found = []
    for place, slo in enumerate(slos):
        changed: dict[str, Any] = {}
        if slo.indicator_ref is not None:
            changed["indicator"] = known.get(slo.indicator_ref)
        if any(each.indicator_ref is not None for each in slo.objectives):
            changed["objectives"] = [
                each
                if each.indicator_ref is None
                else each.model_copy(update={"indicator": known.get(each.indicator_ref)})
                for each in slo.objectives
            ]
        if changed:
            try:
                slo = Slo.model_validate(slo.model_copy(update=changed).model_dump())
            except ValidationError as error:
                reason = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise Invalid(f"{reason} ({slo.name})", pointer=f"/slos/{place}") from None
        found.append(slo)
    return found


def fingerprint(content: Mapping[str, Any]) -> str:
    """SHA-256 of what is demanded (JSON-ready `content`), blind to bookkeeping and to the order of members."""
    demanded = {name: content[name] for name in _DEMANDS}
    return hashlib.sha256(json.dumps(demanded, sort_keys=True).encode()).hexdigest()


def merged(target: Any, patch: Any) -> Any:
    """JSON Merge Patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
