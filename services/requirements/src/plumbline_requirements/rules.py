"""What may happen to a requirement, decided without I/O."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from plumbline_common.auth import UserInfo
from plumbline_common.errors import Conflict, Forbidden, PreconditionMissing, Stale
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


def check_transition(now: Status, to: Status, author: str, actor: UserInfo) -> None:
    """Raise unless `actor` may take a requirement whose content `author` wrote from `now` to `to`."""
    if to not in LEGAL[now]:
        legal = [state.value for state in LEGAL[now]]
        raise IllegalTransition(
            f"from {now.value} it can go to {' or '.join(legal) or 'no other state'}",
            pointer="/status",
            legal=legal,
        )
    if to in _DECISIONS and not actor.may("reviewer"):
        raise Forbidden("a reviewer approves or rejects")
    if to in _DECISIONS and actor.subject == author:
        raise OwnRevision("another reviewer must decide on it")


def check_changeable(owner_team: str | None, actor: UserInfo) -> None:
    """Raise unless `actor` belongs to the team that owns the requirement."""
    if owner_team is not None and owner_team not in actor.teams and not actor.may("admin"):
        raise NotYourTeam(f"it belongs to the team {owner_team}")


def check_content_changeable(changed: set[str], owner_team: str | None, actor: UserInfo) -> None:
    """Raise unless `actor` may write the members `changed`; reviewers only decide."""
    if changed - {"status"} and not actor.may("editor"):
        raise Forbidden("an editor changes what a requirement says")
    if not actor.may("reviewer") or changed - {"status"}:
        check_changeable(owner_team, actor)


def etag(revision: int) -> str:
    """The strong validator of one revision."""
    return f'"{revision}"'


def check_match(revision: int, if_match: str | None) -> None:
    """Raise unless the precondition (RFC 9110, If-Match) names `revision`."""
    if if_match is None:
        raise PreconditionMissing("send If-Match with the ETag that you read", etag=etag(revision))
    offered = [tag.strip() for tag in if_match.split(",")]
    if "*" not in offered and etag(revision) not in offered:
        raise Stale(f"it is at revision {revision} now", etag=etag(revision))


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
