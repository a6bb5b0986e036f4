"""The OpenAPI document: the bearer token, and problem+json as the answer of everything that fails."""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from plumbline_common.problems import MEDIA_TYPE, Problem

_DESCRIPTION = """\
An operation takes a bearer token; `x-plumbline-roles` names the roles, of which one is needed. Lists take `skip` and
`limit` and answer `{items, total}`. What fails answers `application/problem+json` (RFC 9457) with a stable `type`,
the member at fault as a JSON pointer, and the `trace_id`."""
_SENTENCE = re.compile(r"(.+?)\.(?:\s+(?=[A-Z0-9`])|\s*\Z)(.*)", re.S)


def roles_of(dependant: Any) -> tuple[str, ...] | None:
    """The roles that a route's dependencies ask for, `("public",)` for none, None where nothing decides."""
    found = getattr(dependant.call, "plumbline_roles", None)
    if found is not None:
        return tuple(found)
    for inner in dependant.dependencies:
        if (found := roles_of(inner)) is not None:
            return found
    return None


def routes(app: FastAPI) -> dict[tuple[str, str], tuple[str, ...] | None]:
    """Every route of the API by method and path, with the roles that may call it."""
    found: dict[tuple[str, str], tuple[str, ...] | None] = {}
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            for method in context.methods or ():
                found[(method, str(context.path))] = roles_of(context.dependant)
    return found


def install(app: FastAPI) -> None:
    """Check that each route has an authorization decision, and describe it in /openapi.json."""
    undecided = [place for place, roles in routes(app).items() if roles is None]
    if undecided:
        raise ValueError(f"routes without an authorization decision: {undecided}")

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = build  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs")
    schemas["Problem"] = problem
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    components["responses"] = {
        "Problem": {
            "description": "The request was refused or failed",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    }
    decisions = routes(app)
    for path, operations in document.get("paths", {}).items():
        for method, operation in operations.items():
            _summarize(operation)
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {"$ref": "#/components/responses/Problem"}
            roles = decisions.get((method.upper(), path)) or ()
            if roles != ("public",):
                operation["security"] = [{"bearer": []}]
                operation["x-plumbline-roles"] = sorted(roles)
    return document


def _summarize(operation: dict[str, Any]) -> None:
    """The first sentence of what an operation says of itself is its summary, the rest its description."""
    if found := _SENTENCE.fullmatch(operation.get("description", "")):
        first, rest = found.groups()
        operation["summary"] = " ".join(first.split())
        del operation["description"]
        if rest:
            operation["description"] = rest
