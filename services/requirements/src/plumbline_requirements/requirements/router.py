"""HTTP in, one service call."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.batching import Batcher
from plumbline_common.errors import PlumblineError
from plumbline_common.preconditions import etag
from plumbline_common.schemas import Instant
from plumbline_requirements.requirements import repository, service
from plumbline_requirements.requirements.schemas import (
    DiscardRequest,
    LintRequest,
    LintResponse,
    Reason,
    RequirementContent,
    RequirementPatch,
    RequirementResponse,
    RestoreRequest,
    TransitionRequest,
)

router = APIRouter(prefix="/api/v1/requirements", tags=["requirements"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Editor = Annotated[UserInfo, Depends(require("editor"))]
EditorOrReviewer = Annotated[UserInfo, Depends(require("editor", "reviewer"))]
ReasonQuery = Annotated[Reason, Query(description="Why; it stands in the history and in the audit log")]

Creations = Batcher[service.Creation, service.Created | PlumblineError]


@router.post("", status_code=201, response_model=RequirementResponse, responses={201: {"headers": web.ETAG}})
async def create(
    content: RequirementContent,
    actor: Editor,
    request: Request,
    key: idempotency.Key = None,
    reason: ReasonQuery = "",
) -> Response:
    """Create a requirement; it begins as `draft`."""
    once = None
    if key is not None:
        seal = await idempotency.seal(request)

        def once(created: service.Created) -> dict[str, Any]:
            return idempotency.row_of(actor.subject, key, seal, _answer(created))

    creations: Creations = request.app.state.creations
    created = await creations.get(service.Creation(content, actor, reason, once))
    if isinstance(created, PlumblineError):
        raise created
    if created is None:
        assert key is not None
        async with request.app.state.read_sessions() as session:
            return await idempotency.replay(session, request, actor.subject, key)
    return _answer(created)


@router.post("/lint")
async def lint(content: LintRequest, actor: Viewer) -> LintResponse:
    """What is weak in a requirement, each with its rule's source and a suggestion. Writes nothing."""
    return service.lint(content)


def _answer(created: service.Created) -> Response:
    headers = {"ETag": etag(1), "Location": f"{router.prefix}/{created.id}"}
    return web.json_response(created.document.encode(), 201, headers)


@router.get("/{id}", response_model=RequirementResponse, responses={200: {"headers": web.ETAG}})
async def read(
    id: UUID,
    actor: Viewer,
    request: Request,
    as_of: Annotated[Instant | None, Query(description="What it said then")] = None,
) -> Response:
    """One requirement with its newest verdict; as of an earlier time, as it was then, without verdict."""
    if as_of is not None:
        async with request.app.state.read_sessions() as session:
            then = await service.as_of(session, id, as_of)
        return web.json_response(then.model_dump_json().encode(), headers={"ETag": etag(then.revision)})
    documents: Batcher[UUID, tuple[int, str]] = request.app.state.documents
    if (found := await documents.get(id)) is None:
        raise repository.missing(id)
    revision, document = found
    return web.json_response(document.encode(), headers={"ETag": etag(revision)})


@router.patch("/{id}", responses={200: {"headers": web.ETAG}})
async def change(
    id: UUID,
    patch: RequirementPatch,
    actor: EditorOrReviewer,
    session: web.Session,
    response: Response,
    if_match: web.IfMatch = None,
    reason: ReasonQuery = "",
) -> RequirementResponse:
    """Change members (JSON Merge Patch) of the revision that If-Match names.

    New content becomes a draft; what is in force stays so until the draft is active. `status` moves the lifecycle on.
    """
    changed = await service.change(session, id, patch, if_match, actor, reason)
    response.headers["ETag"] = etag(changed.revision)
    return changed


@router.delete("/{id}", status_code=204)
async def delete(
    id: UUID, actor: Editor, session: web.Session, if_match: web.IfMatch = None, reason: ReasonQuery = ""
) -> None:
    """Delete the revision that If-Match names, unless it is in force; what it was can still be read."""
    await service.delete(session, id, if_match, actor, reason)


@router.post("/{id}/transitions", responses={200: {"headers": web.ETAG}})
async def transition(
    id: UUID,
    wanted: TransitionRequest,
    actor: EditorOrReviewer,
    session: web.Session,
    response: Response,
    if_match: web.IfMatch = None,
) -> RequirementResponse:
    """Move the lifecycle on, with a reason; a review may be asked of certain people."""
    moved = await service.transition(session, id, wanted.to, if_match, actor, wanted.reason, wanted.reviewers)
    response.headers["ETag"] = etag(moved.revision)
    return moved


@router.post("/{id}/restore", responses={200: {"headers": web.ETAG}})
async def restore(
    id: UUID,
    wanted: RestoreRequest,
    actor: Editor,
    session: web.Session,
    response: Response,
    if_match: web.IfMatch = None,
) -> RequirementResponse:
    """Make what an earlier revision said a new draft."""
    restored = await service.restore(session, id, wanted.revision, if_match, actor, wanted.reason)
    response.headers["ETag"] = etag(restored.revision)
    return restored


@router.post("/{id}/discard", responses={200: {"headers": web.ETAG}})
async def discard(
    id: UUID,
    wanted: DiscardRequest,
    actor: Editor,
    session: web.Session,
    response: Response,
    if_match: web.IfMatch = None,
) -> RequirementResponse:
    """Give up the drafted change of a requirement that is in force."""
    kept = await service.discard(session, id, if_match, actor, wanted.reason)
    response.headers["ETag"] = etag(kept.revision)
    return kept
