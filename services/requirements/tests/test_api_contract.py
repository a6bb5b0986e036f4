"""Each operation of the service's OpenAPI document, tried with right and wrong requests."""

from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

import contract
from plumbline_common import openapi

ONE = "/api/v1/requirements/{id}"
OPERATIONS = [
    "POST /api/v1/requirements",
    "GET /api/v1/requirements",
    "POST /api/v1/requirements/bulk",
    "POST /api/v1/requirements/bulk/lines",
    "GET /api/v1/requirements/export",
    "POST /api/v1/requirements/import",
    "POST /api/v1/requirements/lint",
    f"GET {ONE}",
    f"PATCH {ONE}",
    f"DELETE {ONE}",
    f"POST {ONE}/transitions",
    f"POST {ONE}/restore",
    f"POST {ONE}/discard",
    f"GET {ONE}/revisions",
    f"GET {ONE}/revisions/{{revision}}",
    f"GET {ONE}/diff",
    f"POST {ONE}/reviews",
    f"GET {ONE}/reviews",
    "GET /api/v1/policies",
    "GET /api/v1/policies/{team}",
    "PUT /api/v1/policies/{team}",
    "POST /api/v1/views",
    "GET /api/v1/views",
    "GET /api/v1/views/{id}",
    "GET /api/v1/views/{id}/requirements",
    "PUT /api/v1/views/{id}",
    "DELETE /api/v1/views/{id}",
    "POST /api/v1/baselines",
    "GET /api/v1/baselines",
    "GET /api/v1/baselines/{id}",
    "DELETE /api/v1/baselines/{id}",
    "GET /api/v1/baselines/{id}/items",
    "GET /api/v1/baselines/{id}/diff",
    "POST /api/v1/exemptions",
    "GET /api/v1/exemptions",
    "GET /api/v1/exemptions/{id}",
    "POST /api/v1/exemptions/{id}/decision",
    "POST /api/v1/exemptions/{id}/revocation",
    "GET /api/v1/coverage",
    "GET /api/v1/coverage/services",
    "GET /api/v1/coverage/report",
    "POST /api/v1/adjustments",
    "GET /api/v1/adjustments",
    "GET /api/v1/adjustments/{id}",
    "POST /api/v1/adjustments/{id}/decision",
    "POST /api/v1/adjustments/{id}/revocation",
    "POST /api/v1/links",
    "GET /api/v1/links",
    "GET /api/v1/links/matrix",
    "GET /api/v1/links/{id}",
    "PATCH /api/v1/links/{id}",
    "DELETE /api/v1/links/{id}",
    "POST /api/v1/links/{id}/clearance",
    f"GET {ONE}/impact",
    "POST /api/v1/openslo/import",
    "GET /api/v1/openslo/export",
    "GET /api/v1/openslo/rules",
    "GET /api/v1/openslo/objects",
    "GET /api/v1/openslo/objects/{kind}/{name}",
    "DELETE /api/v1/openslo/objects/{kind}/{name}",
    "GET /api/v1/audit",
    "GET /api/v1/audit/export",
]
ENDLESS = "GET /api/v1/events/stream"
"""Its answer never ends, which in-process requests wait for: tests/stream/ tries it on a real server."""


@pytest.fixture(scope="module")
def operations(app: FastAPI) -> dict[str, Any]:
    return contract.operations_of(app)


def test_every_operation_is_tried(operations: dict[str, Any]) -> None:
    assert set(operations) == {*OPERATIONS, ENDLESS}


def test_only_health_and_documents_are_open_to_all(app: FastAPI) -> None:
    assert {place for place, roles in openapi.routes(app).items() if roles == ("public",)} == {
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/docs"),
        ("GET", "/asyncapi.json"),
    }


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", contract.MODES)
@contract.examples(12)
@given(data=st.data())
async def test_answers_are_as_documented(
    caller: Any, operations: dict[str, Any], operation: str, mode: Any, data: st.DataObject
) -> None:
    await contract.check(caller("admin"), operations[operation], mode, data)
