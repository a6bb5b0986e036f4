"""What may happen to an exemption, decided without I/O."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from plumbline_common.auth import UserInfo
from plumbline_common.errors import Conflict, Forbidden, Invalid

LONGEST = timedelta(days=366)


class Status(StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    REJECTED = "rejected"
    REVOKED = "revoked"
    EXPIRED = "expired"
    """Requested or approved, and its time is over: told by the clock, never stored."""


LEGAL: Mapping[Status, tuple[Status, ...]] = {
    Status.REQUESTED: (Status.APPROVED, Status.REJECTED),
    Status.APPROVED: (Status.REVOKED,),
    Status.REJECTED: (),
    Status.REVOKED: (),
    Status.EXPIRED: (),
}


class IllegalTransition(Conflict):
    slug = "illegal-transition"
    title = "The exemption cannot go to that state from where it is"


class OwnRequest(Conflict):
    slug = "own-request"
    title = "Who asks for an exemption cannot decide on it"


def check_period(starts_at: datetime, expires_at: datetime, now: datetime) -> None:
    """Raise unless the exemption ends after it starts, within 366 days, and not before now."""
    if expires_at <= starts_at:
        raise Invalid("an exemption expires after it starts", pointer="/expires_at")
    if expires_at - starts_at > LONGEST:
        raise Invalid(f"an exemption lasts at most {LONGEST.days} days", pointer="/expires_at")
    if expires_at <= now:
        raise Invalid("that time is past", pointer="/expires_at")


def status_at(kept: Status, expires_at: datetime, now: datetime) -> Status:
    """The state at `now` of an exemption that people left in `kept`."""
    return Status.EXPIRED if LEGAL[kept] and expires_at <= now else kept


def active_at(kept: Status, starts_at: datetime, expires_at: datetime, now: datetime) -> bool:
    """Whether the exemption excuses anything at `now`."""
    return kept is Status.APPROVED and starts_at <= now < expires_at


def check_transition(now: Status, to: Status) -> None:
    """Raise unless an exemption may go from `now` to `to`."""
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
