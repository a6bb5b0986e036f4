"""Errors name the fact, not the status: only `problems.py` knows which HTTP status a kind becomes."""

from typing import Any, ClassVar

TYPE = "urn:plumbline:problem:"
"""What the `type` of a problem (RFC 9457) begins with; its slug follows."""


class PlumblineError(Exception):
    """A refusal with a stable slug.

    `detail` is for people. `pointer` is the JSON pointer (RFC 6901) of the member at fault.
    `extra` becomes extension members of the problem+json (RFC 9457, section 3.2).
    """

    slug: ClassVar[str] = "error"
    title: ClassVar[str] = "The request could not be served"

    def __init__(self, detail: str, *, pointer: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointer = pointer
        self.extra = extra


class Invalid(PlumblineError):
    slug = "invalid-request"
    title = "The request is malformed"


class TooLarge(PlumblineError):
    slug = "body-too-large"
    title = "The request body is too large"


class UnsupportedMedia(PlumblineError):
    slug = "unsupported-media-type"
    title = "The media type or encoding of the body is not supported"


class Unauthenticated(PlumblineError):
    slug = "unauthenticated"
    title = "Who is calling could not be verified"


class Forbidden(PlumblineError):
    slug = "forbidden"
    title = "The caller may not do this"


class NotFound(PlumblineError):
    slug = "not-found"
    title = "There is no such thing"


class Conflict(PlumblineError):
    slug = "conflict"
    title = "The state of things forbids this"


class PreconditionMissing(PlumblineError):
    slug = "precondition-required"
    title = "The request must say which version it changes"


class Stale(PlumblineError):
    slug = "stale-version"
    title = "The thing has changed since it was read"


class TooMany(PlumblineError):
    """`retry_after`, in seconds, says when it may be tried again."""

    slug = "rate-limited"
    title = "More was sent than may be at this time"


class Unavailable(PlumblineError):
    slug = "unavailable"
    title = "Something that this request needs is not available"
