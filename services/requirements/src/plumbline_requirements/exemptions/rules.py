"""What may happen to an exemption, decided without I/O."""

from datetime import datetime, timedelta

from plumbline_common.errors import Invalid
from plumbline_requirements.consents.rules import LEGAL, Status

LONGEST = timedelta(days=366)


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
