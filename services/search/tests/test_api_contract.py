"""Requests made from the OpenAPI document, right and wrong ones: no server error, and answers as documented."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS: list[Callable[..., Any]] = [
    not_a_server_error,
    response_schema_conformance,
    content_type_conformance,
    status_code_conformance,
]


@pytest.fixture(scope="module")
def operations(app: FastAPI) -> dict[str, Any]:
    document: Any = schemathesis.openapi.from_dict(app.openapi())
    declared = [found.ok() for found in document.get_all_operations()]
    return {f"{operation.method.upper()} {operation.path}": operation for operation in declared}


def test_every_operation_is_tried(operations: dict[str, Any]) -> None:
    assert set(operations) == {"POST /api/v1/search", "GET /api/v1/search"}


@pytest.mark.parametrize("operation", ["POST /api/v1/search", "GET /api/v1/search"])
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_answers_are_as_documented(
    client: httpx.AsyncClient,
    operations: dict[str, Any],
    operation: str,
    mode: GenerationMode,
    data: st.DataObject,
) -> None:
    case = data.draw(operations[operation].as_strategy(generation_mode=mode))
    sent = case.as_transport_kwargs(base_url="http://search")
    response = await client.request(
        sent["method"],
        sent["url"],
        params=sent["params"],
        headers={**client.headers, **sent["headers"]} | {"Authorization": client.headers["Authorization"]},
        json=sent.get("json"),
        content=sent.get("data"),
    )
    case.validate_response(response, checks=CHECKS)
