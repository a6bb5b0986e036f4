"""HTTP in, one service call."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from plumbline_common import idempotency, offload, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.errors import Invalid, UnsupportedMedia
from plumbline_common.preconditions import etag
from plumbline_common.schemas import Name, Team
from plumbline_requirements.openslo import service
from plumbline_requirements.openslo.schemas import (
    AnyKind,
    ImportResponse,
    SharedKind,
    SharedObject,
    SharedObjectPage,
    Which,
)
from plumbline_requirements.requirements.schemas import Reason

router = APIRouter(prefix="/api/v1/openslo", tags=["openslo"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Editor = Annotated[UserInfo, Depends(require("editor"))]
ReasonQuery = Annotated[Reason, Query(description="Why; it stands in the history and in the audit log")]

YAML = "application/yaml"
_TEXTS = (YAML, "application/x-yaml", "text/yaml", "text/x-yaml", "application/json")
BODY_LIMITS = {f"{router.prefix}/import": 8 * 1024 * 1024}
"""In bytes, by path."""


@router.post(
    "/import",
    response_model=ImportResponse,
    openapi_extra={
        "requestBody": {
            "content": {YAML: {"schema": {"type": "string"}}, "application/json": {"schema": {}}},
            "required": True,
        }
    },
)
async def import_(
    actor: Editor,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
    dry_run: Annotated[bool, Query(description="Only tell what would change")] = False,
    owner_team: Annotated[Team | None, Query(description="Owns the requirements that are made")] = None,
    reason: ReasonQuery = "",
) -> Response:
    """Take OpenSLO v1 in: several YAML documents or JSON, all of it or nothing.

    An SLO changes the requirement that pins one of its name (or that its annotation `plumbline/requirement` names),
    as a new draft revision; else it makes a requirement. A new SLI makes new revisions of all that pin it.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _TEXTS:
        raise UnsupportedMedia(f"send {YAML} or application/json")
    try:
        text = (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"is not UTF-8: byte {error.start}", pointer="") from None
    found = await service.parse(text)
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    done = await service.import_(session, found, service.Asked(actor, dry_run, owner_team, reason))
    answer = await offload.in_thread(done.model_dump_json)
    return await claimed.keep(web.json_response(answer.encode()))


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {YAML: {"schema": {}}, "application/json": {"schema": {"type": "array"}}}}},
)
async def export(
    actor: Viewer,
    request: Request,
    kind: Annotated[list[AnyKind] | None, Query(description="Only these; all where it is left out")] = None,
    of_service: Annotated[Name | None, Query(alias="service", description="Of requirements of this service")] = None,
    owner_team: Team | None = None,
    which: Annotated[Which, Query(description="As SLOs are, or as production is held against them")] = "present",
    format: Literal["yaml", "json"] = "yaml",
) -> StreamingResponse:
    """SLOs, and what they share, as OpenSLO v1: what `import` takes."""
    wanted = service.Wanted(kind or service.ALL_KINDS, of_service, owner_team, which, format == "json")
    parts = service.export(request.app.state.read_sessions, wanted)
    return StreamingResponse(parts, media_type="application/json" if wanted.json else YAML)


@router.get(
    "/rules",
    response_class=StreamingResponse,
    responses={200: {"content": {YAML: {"schema": {"type": "object"}}}}},
)
async def rules(
    actor: Viewer,
    request: Request,
    of_service: Annotated[Name | None, Query(alias="service")] = None,
    owner_team: Team | None = None,
    which: Annotated[Which, Query(description="`present`: of drafts too")] = "in_force",
) -> StreamingResponse:
    """Prometheus rules of the SLOs: recorded error ratios and multi-window burn-rate alerts."""
    wanted = service.Wanted(("SLO",), of_service, owner_team, which, False)
    return StreamingResponse(service.export_rules(request.app.state.read_sessions, wanted), media_type=YAML)


@router.get("/objects")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    kind: SharedKind | None = None,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> SharedObjectPage:
    """What SLOs share: services, SLIs, data sources and alerting objects, by kind and name."""
    return await service.page(session, kind, skip, limit)


@router.get("/objects/{kind}/{name:path}", responses={200: {"headers": web.ETAG}})
async def read(
    kind: SharedKind, name: Name, actor: Viewer, session: web.ReadSession, response: Response
) -> SharedObject:
    """One of them."""
    found = await service.read(session, kind, name)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.delete("/objects/{kind}/{name:path}", status_code=204)
async def delete(
    kind: SharedKind,
    name: Name,
    actor: Editor,
    session: web.Session,
    if_match: web.IfMatch = None,
    reason: ReasonQuery = "",
) -> None:
    """Delete one that no requirement's SLO pins."""
    await service.delete(session, (kind, name), if_match, actor, reason)
