"""What may happen to a document, decided without I/O."""

from collections.abc import Sequence
from uuid import UUID, uuid5

from plumbline_common.auth import UserInfo
from plumbline_common.errors import Forbidden, Stale
from plumbline_common.preconditions import etag

_DOCUMENTS = UUID("6f1d1a5e-6c8e-5a4d-9c53-8f1f6f0f3b5a")


class NotYourTeam(Forbidden):
    slug = "not-your-team"
    title = "A team's documents are changed by that team or an admin"


def id_of(kind: str, external_id: str) -> UUID:
    """The same for the same document, always (UUIDv5)."""
    return uuid5(_DOCUMENTS, f"{kind}:{external_id}")


def check_team(team: str | None, actor: UserInfo) -> None:
    """Raise unless `actor` may change what belongs to `team`; what belongs to none, every editor may."""
    if team is not None and team not in actor.teams and not actor.may("admin"):
        raise NotYourTeam(f"the document belongs to the team {team}")


def check_match(revision: int, if_match: str | None) -> None:
    """Raise where a precondition (RFC 9110, If-Match) is given and names another revision; 0: there is none."""
    if if_match is None:
        return
    offered = [tag.strip() for tag in if_match.split(",")]
    if etag(revision) not in offered and ("*" not in offered or revision == 0):
        raise Stale(f"it is at revision {revision} now" if revision else "there is none", etag=etag(revision))


def teams_of(actor: UserInfo) -> Sequence[str] | None:
    """The teams whose documents `actor` may read beside those of all; None: every one."""
    return None if actor.may("admin") else sorted(actor.teams)
