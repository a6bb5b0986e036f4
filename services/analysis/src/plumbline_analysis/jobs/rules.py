"""Which states a job goes through, what becomes of one whose worker is lost, what of its progress is news. Pure."""

from dataclasses import dataclass
from datetime import datetime

from plumbline_common import errors
from plumbline_common.errors import Conflict, Forbidden, PlumblineError
from plumbline_common.schemas import JobFailure, JobState

OVER = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT})
"""The states that a job ends in."""
NEWS = 0.05
"""So much progress is told as an event."""


class IllegalTransition(Conflict):
    slug = "illegal-transition"
    title = "The job cannot go to that state from where it is"


class NotYourJob(Forbidden):
    slug = "not-your-job"
    title = "Somebody else asked for this job"


class WorkersLost(PlumblineError):
    slug = "workers-lost"
    title = "Each worker that took the job on was lost"


class DeadlinePassed(PlumblineError):
    slug = "deadline-passed"
    title = "The job was not done within its time"


class Defective(PlumblineError):
    slug = "internal-error"
    title = "The job met an error that nobody foresaw"


def check_cancellable(state: JobState, *, may: bool) -> None:
    """Raise unless a job in `state` can be cancelled; `may` says whether the caller may at all."""
    if not may:
        raise NotYourJob("who asked for it may cancel it, and so may an operator")
    if state in OVER:
        raise IllegalTransition(f"it is {state.value} already, and goes to no other state", legal=[])


def failure(error: PlumblineError) -> JobFailure:
    return JobFailure(type=f"{errors.TYPE}{error.slug}", title=error.title, detail=error.detail)


def overdue(deadline: datetime) -> JobFailure:
    return failure(DeadlinePassed(f"its deadline was {deadline.isoformat()}: ask for less, or allow more time"))


def lost(attempts: int, reason: str) -> JobFailure:
    return failure(WorkersLost(f"after {attempts} attempts nobody tries again; the last: {reason}"))


@dataclass(frozen=True)
class Fate:
    """What becomes of a job that its worker left: a state to end in with a failure, or the queue again."""

    state: JobState
    failure: JobFailure | None = None


def fate(attempts: int, deadline: datetime, now: datetime, most: int, reason: str) -> Fate:
    """Of a job that was left, at `now`, after so many of at most `most` attempts."""
    if now >= deadline:
        return Fate(JobState.TIMED_OUT, overdue(deadline))
    if attempts >= most:
        return Fate(JobState.FAILED, lost(attempts, reason))
    return Fate(JobState.QUEUED)


@dataclass(frozen=True)
class Progress:
    """How far a job is, from 0 to 1, and what it is at."""

    share: float = 0.0
    message: str = ""

    def is_news(self, told: "Progress") -> bool:
        """Whether to tell of it, after `told`."""
        return self.message != told.message or self.share - told.share >= NEWS
