"""What may happen to what somebody asked for, decided without I/O."""

from collections.abc import Mapping
from enum import StrEnum

from plumbline_common.auth import UserInfo
from plumbline_common.errors import Conflict, Forbidden


class Status(StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    REJECTED = "rejected"
    REVOKED = "revoked"
    EXPIRED = "expired"
    """Its time is over: told by the clock, never stored."""


LEGAL: Mapping[Status, tuple[Status, ...]] = {
    Status.REQUESTED: (Status.APPROVED, Status.REJECTED),
    Status.APPROVED: (Status.REVOKED,),
    Status.REJECTED: (),
    Status.REVOKED: (),
    Status.EXPIRED: (),
}


class IllegalTransition(Conflict):
    slug = "illegal-transition"
    title = "It cannot go to that state from where it is"


class OwnRequest(Conflict):
    slug = "own-request"
    title = "Who asks cannot decide"


def check_transition(now: Status, to: Status) -> None:
    """Raise unless it may go from `now` to `to`."""
    if to not in LEGAL[now]:
        legal = [state.value for state in LEGAL[now]]
        raise IllegalTransition(
            f"from {now.value} it can go to {' or '.join(legal) or 'no other state'}", legal=legal
        )


def check_decider(requested_by: str, actor: UserInfo) -> None:
    """Raise unless `actor` may decide on what `requested_by` asked for."""
    if not actor.may("reviewer"):
        raise Forbidden("a reviewer approves or rejects")
    if actor.subject == requested_by:
        raise OwnRequest("another reviewer must decide on it")
