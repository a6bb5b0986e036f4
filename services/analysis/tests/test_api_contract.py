"""Requests made from the OpenAPI document, right and wrong ones: no server error, and answers as documented."""

import warnings
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
OPERATIONS = [
    "POST /v1/metrics",
    "POST /api/v1/telemetry/points",
    "GET /api/v1/signals",
    "GET /api/v1/signals/{id}",
    "GET /api/v1/signals/{id}/series",
    "GET /api/v1/anomalies",
    "GET /api/v1/anomalies/{id}",
    "GET /api/v1/verdicts",
]


@pytest.fixture(scope="module")
def operations(running_app: FastAPI) -> dict[str, Any]:
    document: Any = schemathesis.openapi.from_dict(running_app.openapi())
    declared = [found.ok() for found in document.get_all_operations()]
    return {f"{operation.method.upper()} {operation.path}": operation for operation in declared}


@pytest.fixture
def admin(caller: Callable[..., httpx.AsyncClient]) -> httpx.AsyncClient:
    """Who passes every role check, so that requests reach what is behind it."""
    return caller("admin")


def test_every_operation_is_tried(operations: dict[str, Any]) -> None:
    assert set(operations) == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_answers_are_as_documented(
    admin: httpx.AsyncClient,
    operations: dict[str, Any],
    operation: str,
    mode: GenerationMode,
    data: st.DataObject,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = data.draw(operations[operation].as_strategy(generation_mode=mode))
    sent = case.as_transport_kwargs(base_url="http://analysis")
    response = await admin.request(
        sent["method"],
        sent["url"],
        params=sent["params"],
        headers={**sent["headers"], "Authorization": admin.headers["Authorization"]},
        json=sent.get("json"),
        content=sent.get("data"),
    )
    case.validate_response(response, checks=CHECKS)
