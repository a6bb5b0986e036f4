"""Each operation of the service's OpenAPI document, tried with right and wrong requests."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

import contract

OPERATIONS = [
    "POST /api/v1/search",
    "GET /api/v1/search",
    "GET /api/v1/documents",
    "POST /api/v1/documents/lines",
    "GET /api/v1/documents/{kind}/{external_id}",
    "PUT /api/v1/documents/{kind}/{external_id}",
    "DELETE /api/v1/documents/{kind}/{external_id}",
    "GET /api/v1/documents/{id}/similar",
    "POST /api/v1/search/feedback",
    "GET /api/v1/search/feedback",
    "GET /api/v1/search/feedback/judgements",
    "GET /api/v1/saved-searches",
    "POST /api/v1/saved-searches",
    "GET /api/v1/saved-searches/{id}",
    "DELETE /api/v1/saved-searches/{id}",
    "GET /api/v1/reindex",
    "POST /api/v1/reindex",
    "DELETE /api/v1/reindex",
    "POST /api/v1/reindex/check",
]


@pytest.fixture(scope="module")
def operations(app: FastAPI) -> dict[str, Any]:
    return contract.operations_of(app)


def test_every_operation_is_tried(operations: dict[str, Any]) -> None:
    assert set(operations) == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", contract.MODES)
@contract.examples(20)
@given(data=st.data())
async def test_answers_are_as_documented(
    client: httpx.AsyncClient, operations: dict[str, Any], operation: str, mode: Any, data: st.DataObject
) -> None:
    await contract.check(client, operations[operation], mode, data)
