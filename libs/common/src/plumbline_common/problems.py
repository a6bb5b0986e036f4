"""Every error as problem+json (RFC 9457). Only this file knows which HTTP status a refusal becomes."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from opentelemetry import trace
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from plumbline_common import db, errors, telemetry

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

_STATUS: dict[type[errors.PlumblineError], int] = {
    errors.Invalid: 422,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.PreconditionMissing: 428,
    errors.Stale: 412,
    errors.TooMany: 429,
    errors.Unavailable: 503,
}
_MARK = re.compile(r"\[[A-Za-z]+\]")
_SLUGS = {400: "invalid-request", 404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}


class FieldProblem(BaseModel):
    """One member of the body (`pointer`, RFC 6901) or one parameter at fault."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class Problem(BaseModel):
    """RFC 9457, with the trace that shows what happened."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    errors: list[FieldProblem] | None = None
    trace_id: str | None = Field(default=None, description="W3C trace id of this request")


def problem(
    status: int,
    slug: str,
    title: str,
    *,
    request: Request | None = None,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
    fields: Sequence[FieldProblem] = (),
    **extra: Any,
) -> JSONResponse:
    """The response. Members without a value are left out."""
    content: dict[str, Any] = {"type": f"{errors.TYPE}{slug}", "title": title, "status": status}
    if detail:
        content["detail"] = detail
    if request is not None:
        content["instance"] = request.url.path
    if fields:
        content["errors"] = [field.model_dump(exclude_none=True) for field in fields]
    if trace_id := current_trace_id(request):
        content["trace_id"] = trace_id
    return JSONResponse(content | extra, status, headers, MEDIA_TYPE)


def current_trace_id(request: Request | None) -> str | None:
    """The id of the running trace, also where this process exports nothing and only passes it on."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid and request is not None:
        context = trace.get_current_span(telemetry.extract(request.headers)).get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None


def _status_of(error: errors.PlumblineError) -> int:
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return _STATUS[kind]
    return 500


def content_of(error: errors.PlumblineError) -> dict[str, Any]:
    """A refusal as a problem inside of a larger answer."""
    fields = [FieldProblem(detail=error.detail, pointer=error.pointer)] if error.pointer is not None else []
    content: dict[str, Any] = {
        "type": f"{errors.TYPE}{error.slug}",
        "title": error.title,
        "status": _status_of(error),
    }
    content |= {"detail": error.detail}
    if fields:
        content["errors"] = [field.model_dump(exclude_none=True) for field in fields]
    return content | error.extra


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.PlumblineError)
    status = _status_of(error)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        headers["Retry-After"] = "1"
    if "retry_after" in error.extra:
        headers["Retry-After"] = str(error.extra.pop("retry_after"))
    if "etag" in error.extra:
        headers["ETag"] = error.extra.pop("etag")
    fields = [FieldProblem(detail=error.detail, pointer=error.pointer)] if error.pointer is not None else []
    return problem(
        status,
        error.slug,
        error.title,
        request=request,
        detail=error.detail,
        headers=headers,
        fields=fields,
        **error.extra,
    )


def _field(error: Mapping[str, Any]) -> FieldProblem:
    place, *path = error["loc"]
    detail = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        detail = "there is no such field here; its name may be misspelt"
    if place == "body":
        if error["type"] == "json_invalid":
            return FieldProblem(detail=f"not JSON: {error.get('ctx', {}).get('error', detail)}", pointer="")
        return FieldProblem(detail=detail, pointer=_clean(pointer(path))[:500])
    return FieldProblem(detail=detail, parameter=_clean(str(path[0]) if path else "")[:200])


def pointer(path: Iterable[str | int]) -> str:
    """RFC 6901, of where an error of pydantic's stands. Its own marks, such as `[key]`, are no members."""
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in path if not _MARK.fullmatch(str(part))]
    return "".join(f"/{part}" for part in parts)


def _clean(text: str) -> str:
    return text.encode(errors="replace").decode()


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = error.errors()[:50]
    fields = [_field(each) for each in found]
    route = getattr(request.scope.get("route"), "path", "")
    for field, each in zip(fields, found, strict=True):
        # The name of an unknown member is the caller's choice: it must not become a label of a metric.
        name = (field.pointer or "").split("/")[1:] or [field.parameter or ""]
        is_unknown = each["type"] == "extra_forbidden" and len(name) == 1
        declared = name[0] if name[0].isidentifier() and len(name[0]) <= 40 and not is_unknown else "other"
        telemetry.validation_errors.add(1, {"http.route": route, "plumbline.field": declared})
    return problem(
        422,
        "invalid-request",
        errors.Invalid.title,
        request=request,
        detail="; ".join(f"{field.pointer or field.parameter or 'body'}: {field.detail}" for field in fields[:3]),
        fields=fields,
    )


async def _by_framework(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    slug = _SLUGS.get(error.status_code, phrase.lower().replace(" ", "-"))
    detail = error.detail if error.detail != phrase else None
    return problem(error.status_code, slug, phrase, request=request, detail=detail, headers=error.headers)


async def _by_database(request: Request, error: Exception) -> JSONResponse:
    if not db.is_transient(error):
        return await unforeseen(request, error)
    log.warning("the database did not serve %s: %r", request.url.path, error)
    detail = "the database did not answer in time; nothing was changed; try again"
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        detail = "the connection to the database was lost, and it may have been done: read before you try again"
    return problem(
        503,
        "unavailable",
        errors.Unavailable.title,
        request=request,
        detail=detail,
        headers={"Retry-After": "1"},
    )


async def unforeseen(request: Request, error: Exception) -> JSONResponse:
    """What is nobody's fault but ours: logged, and answered without internals."""
    log.error("unhandled error at %s %s", request.method, request.url.path, exc_info=error)
    return problem(
        500,
        "internal-error",
        "Something went wrong on our side",
        request=request,
        detail="the fault is logged under the trace id",
    )


def install(app: FastAPI) -> None:
    """Give `app` a problem+json answer for every error."""
    app.add_exception_handler(errors.PlumblineError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _by_framework)
    app.add_exception_handler(DBAPIError, _by_database)
    app.add_exception_handler(PoolTimeout, _by_database)
    app.add_exception_handler(Exception, unforeseen)
