"""Requests made from an OpenAPI document, right and wrong ones: no server error, and answers as documented."""

import warnings
from typing import Any

import httpx
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, reject, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

schemathesis.serializer.alias("application/x-ndjson", "text/plain")
schemathesis.serializer.alias("application/x-protobuf", "application/octet-stream")
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
CHECKS: list[Any] = [
    not_a_server_error,
    response_schema_conformance,
    content_type_conformance,
    status_code_conformance,
]


def examples(number: int) -> settings:
    """How many requests of each mode an operation gets; with `make explore` ten times as many."""
    many = number * 10 if settings.get_current_profile_name() == "explore" else number
    return settings(max_examples=many, deadline=None, suppress_health_check=list(HealthCheck))


def operations_of(app: FastAPI) -> dict[str, Any]:
    """The operations of the service's document by method and path, such as `GET /api/v1/search`."""
    document: Any = schemathesis.openapi.from_dict(app.openapi())
    declared = [found.ok() for found in document.get_all_operations()]
    return {f"{operation.method.upper()} {operation.path}": operation for operation in declared}


async def check(client: httpx.AsyncClient, operation: Any, mode: GenerationMode, data: st.DataObject) -> None:
    """Send one request that `data` draws, with the client's token, and hold the answer against the document."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = data.draw(operation.as_strategy(generation_mode=mode))
    sent = case.as_transport_kwargs(base_url=str(client.base_url).rstrip("/"))
    try:
        response = await client.request(
            sent["method"],
            sent["url"],
            params=sent["params"],
            headers={**sent["headers"], "Authorization": client.headers["Authorization"]},
            json=sent.get("json"),
            content=sent.get("data"),
        )
    except httpx.InvalidURL:  # longer than this client sends
        reject()
    case.validate_response(response, checks=CHECKS)
