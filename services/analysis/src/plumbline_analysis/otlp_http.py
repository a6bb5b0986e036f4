"""OTLP over HTTP: a request's body read by the decoder of its media type. https://opentelemetry.io/docs/specs/otlp/"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from fastapi import HTTPException, Request

from plumbline_analysis.sources.batch import Undecodable
from plumbline_common import offload
from plumbline_common.errors import UnsupportedMedia

T = TypeVar("T")

PROTOBUF, JSON = "application/x-protobuf", "application/json"
_INLINE_BYTES = 8 * 1024
"""A body this small is decoded sooner than a thread is woken."""


class Export(Generic[T]):
    """An export request: its media type, and what was read of it."""

    def __init__(self, media_type: str, found: T) -> None:
        self.media_type = media_type
        self.found = found


async def read(request: Request, decoders: Mapping[str, Any], work: Callable[[Any, bytes, str], T]) -> Export[T]:
    """`work(decoder, body, content encoding)`, on a thread where the body is large.

    Raises `UnsupportedMedia`, what `work` raises, and 400 where that is `Undecodable`: such data must not be sent
    again (OTLP).
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if (decode := decoders.get(media_type)) is None:
        raise UnsupportedMedia(f"send {' or '.join(decoders)}, not {media_type[:100]!r}")
    body, encoding = await request.body(), request.headers.get("content-encoding", "")
    try:
        if len(body) <= _INLINE_BYTES and not encoding:
            return Export(media_type, work(decode, body, encoding))
        return Export(media_type, await offload.in_thread(work, decode, body, encoding))
    except Undecodable as error:
        place = f" at {error.pointer}" if error.pointer else ""
        raise HTTPException(400, f"{error.detail}{place}") from None


def documentation(
    what: str, resources: str, rejected: str, kept: str = "what was accepted is durable"
) -> dict[str, Any]:
    """What an export route tells of itself: that of "Metrics" has "resourceMetrics" and "rejectedDataPoints"."""
    partial = {
        "type": "object",
        "properties": {rejected: {"type": "string"}, "errorMessage": {"type": "string"}},
    }
    binary = {"schema": {"type": "string", "format": "binary"}}
    asked = {"schema": {"type": "object", "properties": {resources: {"type": "array", "items": {}}}}}
    answered = {"schema": {"type": "object", "properties": {"partialSuccess": partial}}}
    package = f"opentelemetry.proto.collector.{what.lower()}.v1"
    return {
        "responses": {
            200: {
                "description": f"Export{what}ServiceResponse as the request is encoded; {kept}",
                "content": {PROTOBUF: binary, JSON: answered},
            }
        },
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "description": f"{package}.Export{what}ServiceRequest, plain or gzip",
                "content": {PROTOBUF: binary, JSON: asked},
            }
        },
    }
