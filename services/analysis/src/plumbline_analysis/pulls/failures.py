"""Why nothing could be pulled, in words for the person who connects a source."""

from dataclasses import dataclass
from enum import StrEnum

from plumbline_common.outgoing import AddressRefused, NoAddress
from plumbline_common.secret_store import NoSecret


class Reason(StrEnum):
    ADDRESS = "address"
    """It may not be asked, or its name has no address."""
    CREDENTIALS = "credentials"
    """A secret is not there."""
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    UNAUTHORIZED = "unauthorized"
    REDIRECT = "redirect"
    HTML = "html"
    STATUS = "status"
    THROTTLED = "throttled"
    TOO_LARGE = "too-large"
    UNREADABLE = "unreadable"
    QUERY = "query"
    """The source understood the question and refuses it."""
    INTERNAL = "internal"
    """The source answered, and what it gave could not be stored."""


_PASSING = (Reason.CONNECTION, Reason.TIMEOUT, Reason.THROTTLED, Reason.UNREADABLE)
_OF_QUERY = (Reason.QUERY, Reason.TOO_LARGE, Reason.TIMEOUT, Reason.STATUS, Reason.UNREADABLE)


class PullFailed(Exception):
    """`retry_after` is in seconds, where the source gave it; `passing` says whether another attempt may help."""

    def __init__(
        self, reason: Reason, detail: str, retry_after: float | None = None, passing: bool | None = None
    ) -> None:
        # What a source says may hold what PostgreSQL can't store.
        self.detail = detail.replace("\x00", "")
        super().__init__(self.detail)
        self.reason = reason
        self.retry_after = retry_after
        self.is_passing = reason in _PASSING if passing is None else passing

    @property
    def may_be_of_query(self) -> bool:
        """Whether other queries may be answered all the same."""
        return self.reason in _OF_QUERY


NOT_ASKED = (AddressRefused, NoAddress, NoSecret)
"""What keeps a question from being sent."""
_NOT_ASKED = {AddressRefused: Reason.ADDRESS, NoAddress: Reason.CONNECTION, NoSecret: Reason.CREDENTIALS}


def not_asked(error: AddressRefused | NoAddress | NoSecret) -> PullFailed:
    return PullFailed(_NOT_ASKED[type(error)], str(error))


@dataclass(frozen=True)
class Setback:
    """How a turn failed: at which query, and whether the source is away, so that the other queries failed too."""

    failure: PullFailed
    query: str | None
    is_away: bool
