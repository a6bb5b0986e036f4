"""Which revision a request changes: ETag and If-Match (RFC 9110, sections 8.8.3 and 13.1.1)."""

from plumbline_common.errors import PreconditionMissing, Stale


def etag(revision: int) -> str:
    """The strong validator of one revision."""
    return f'"{revision}"'


def check_match(revision: int, if_match: str | None) -> None:
    """Raise unless the precondition names `revision`."""
    if if_match is None:
        raise PreconditionMissing("send If-Match with the ETag that you read", etag=etag(revision))
    offered = [tag.strip() for tag in if_match.split(",")]
    if "*" not in offered and etag(revision) not in offered:
        raise Stale(f"it is at revision {revision} now", etag=etag(revision))
