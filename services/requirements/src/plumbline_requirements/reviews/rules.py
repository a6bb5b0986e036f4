"""What may be said of a revision, decided without I/O."""

from plumbline_common.auth import UserInfo
from plumbline_common.errors import Conflict, Forbidden
from plumbline_common.schemas import RequirementStatus


class NotInReview(Conflict):
    slug = "not-in-review"
    title = "The requirement is not in review"


class AlreadyDecided(Conflict):
    slug = "already-decided"
    title = "This reviewer has decided on this revision before"


class AnotherRevision(Conflict):
    slug = "another-revision"
    title = "The requirement has changed since it was read"


def check_reviewed(status: RequirementStatus, revision: int, wanted: int) -> None:
    """Raise unless the revision that was read is the one in review."""
    if wanted != revision:
        raise AnotherRevision(f"it is at revision {revision} now", pointer="/revision", revision=revision)
    if status is not RequirementStatus.IN_REVIEW:
        raise NotInReview(f"it is {status.value}")


def check_commenter(actor: UserInfo) -> None:
    """Raise unless `actor` takes part in reviews."""
    if not actor.may("editor", "reviewer"):
        raise Forbidden("an editor or a reviewer comments")
