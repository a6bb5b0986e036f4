"""HTTP in, one service call."""

from collections.abc import AsyncIterator
from typing import IO, Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_common.errors import UnsupportedMedia
from plumbline_requirements import markup
from plumbline_requirements.interchange import service
from plumbline_requirements.interchange.records import FileFormat, ReportFormat
from plumbline_requirements.interchange.service import Asked
from plumbline_requirements.listing.rules import in_words
from plumbline_requirements.listing.schemas import FilterQuery
from plumbline_requirements.listing.service import filters_of
from plumbline_requirements.requirements.schemas import Reason

router = APIRouter(prefix="/api/v1/requirements", tags=["interchange"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Editor = Annotated[UserInfo, Depends(require("editor"))]
ReasonQuery = Annotated[Reason, Query(description="Why; it stands in the history and in the audit log")]

LINES = "application/x-ndjson"
_TYPES: dict[FileFormat | ReportFormat, str] = {
    "csv": "text/csv",
    "json": "application/json",
    "ndjson": LINES,
    "reqif": "application/reqif+xml",
    "markdown": "text/markdown",
    "html": "text/html",
}
_SUFFIXES = {"markdown": "md"}
_TAKEN: dict[str, FileFormat] = {"text/csv": "csv", "application/json": "json", LINES: "ndjson",
                                 "application/reqif+xml": "reqif", "application/xml": "reqif"}  # fmt: skip
_TEXT = {"schema": {"type": "string"}}
BODY_LIMITS = {f"{router.prefix}/import": 512 * 1024 * 1024}
"""In bytes, by path."""


class ExportQuery(FilterQuery):
    format: FileFormat | ReportFormat = "csv"


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {media: {"schema": {}} if media == "application/json" else _TEXT for media in _TYPES.values()}
        }
    },
)
async def export(actor: Viewer, request: Request, query: Annotated[ExportQuery, Query()]) -> StreamingResponse:
    """All requirements that match the filters of the list, as a file or as a report."""
    given = query.model_dump(mode="json", exclude={"format"}, exclude_defaults=True)
    said = in_words(given)
    parts = service.export(request.app.state.read_sessions, filters_of(query), query.format, said)
    name = f"requirements.{_SUFFIXES.get(query.format, query.format)}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'} | markup.HEADERS
    return StreamingResponse(parts, media_type=_TYPES[query.format], headers=headers)


@router.post(
    "/import",
    response_class=StreamingResponse,
    responses={200: {"content": {LINES: _TEXT}}},
    openapi_extra={"requestBody": {"content": dict.fromkeys(_TAKEN, _TEXT), "required": True}},
)
async def import_(
    actor: Editor,
    request: Request,
    dry_run: Annotated[bool, Query(description="Only tell what would change")] = False,
    reason: ReasonQuery = "",
) -> StreamingResponse:
    """Take a file in: CSV, JSON, lines of JSON or ReqIF, all of it or nothing.

    A record with an id (else a key) that is known changes that requirement: the members that the file has, as a new
    draft. Others make new requirements, with the id where there is one. The answer is lines of JSON: `progress`, each
    `fault` with its line, each `change`, and at last `done`, which tells whether anything was written.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in _TAKEN:
        raise UnsupportedMedia(f"send {', '.join(_TAKEN)}")
    spool = await web.spooled(request)
    asked = Asked(actor, dry_run, reason)
    return StreamingResponse(_imported(request, spool, _TAKEN[media], asked), media_type=LINES)


async def _imported(request: Request, spool: IO[bytes], form: FileFormat, asked: Asked) -> AsyncIterator[bytes]:
    with spool:
        async for line in service.import_(request.app.state.sessions, spool, form, asked):
            yield line
