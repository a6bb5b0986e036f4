"""Each operation of the service's OpenAPI document, tried with right and wrong requests."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

import contract

OPERATIONS = [
    "POST /v1/metrics",
    "POST /v1/logs",
    "POST /api/v1/write",
    "POST /v1/traces",
    "POST /api/v1/telemetry/points",
    "POST /api/v1/telemetry/uploads",
    "POST /api/v1/telemetry/logs",
    "GET /api/v1/signals",
    "GET /api/v1/signals/{id}",
    "GET /api/v1/signals/{id}/series",
    "GET /api/v1/services/scores",
    "GET /api/v1/services/plot.svg",
    "GET /api/v1/signals/{id}/detector",
    "GET /api/v1/signals/{id}/detector/proposal",
    "GET /api/v1/signals/{id}/detector/revisions",
    "POST /api/v1/signals/{id}/detector/revisions",
    "POST /api/v1/signals/{id}/detector/retunes",
    "POST /api/v1/signals/{id}/backfills",
    "POST /api/v1/services/backfills",
    "POST /api/v1/signals/{id}/backtests",
    "POST /api/v1/log-templates/mining",
    "POST /api/v1/what-if",
    "GET /api/v1/jobs",
    "GET /api/v1/jobs/{id}",
    "GET /api/v1/jobs/{id}/events",
    "POST /api/v1/jobs/{id}/cancel",
    "GET /api/v1/deployments",
    "POST /api/v1/deployments",
    "GET /api/v1/deployments/{id}",
    "GET /api/v1/deployment-hooks",
    "POST /api/v1/deployment-hooks",
    "GET /api/v1/deployment-hooks/{id}",
    "DELETE /api/v1/deployment-hooks/{id}",
    "POST /api/v1/deployment-hooks/{id}/deliveries",
    "GET /api/v1/anomalies",
    "GET /api/v1/anomalies/{id}",
    "GET /api/v1/anomalies/{id}/plot.svg",
    "GET /api/v1/signals/{id}/plot.svg",
    "POST /api/v1/anomalies/{id}/acknowledge",
    "GET /api/v1/anomalies/{id}/labels",
    "POST /api/v1/anomalies/{id}/labels",
    "GET /api/v1/incidents",
    "GET /api/v1/incidents/{id}",
    "GET /api/v1/incidents/{id}/anomalies",
    "GET /api/v1/incidents/{id}/timeline",
    "POST /api/v1/incidents/{id}/acknowledge",
    "POST /api/v1/incidents/{id}/resolve",
    "POST /api/v1/incidents/{id}/comments",
    "POST /api/v1/incidents/{id}/merge",
    "POST /api/v1/incidents/{id}/split",
    "GET /api/v1/services/graph",
    "GET /api/v1/notification-targets",
    "POST /api/v1/notification-targets",
    "GET /api/v1/notification-targets/{id}",
    "PUT /api/v1/notification-targets/{id}",
    "DELETE /api/v1/notification-targets/{id}",
    "POST /api/v1/notification-targets/{id}/test",
    "GET /api/v1/notification-targets/{id}/alerts",
    "GET /api/v1/notification-targets/{id}/deliveries",
    "POST /api/v1/notification-targets/{id}/deliveries/{delivery_id}/retry",
    "GET /api/v1/silences",
    "POST /api/v1/silences",
    "DELETE /api/v1/silences/{id}",
    "GET /api/v1/log-templates",
    "GET /api/v1/log-templates/{id}",
    "GET /api/v1/verdicts",
    "GET /api/v1/sources",
    "POST /api/v1/sources",
    "GET /api/v1/sources/{id}",
    "PUT /api/v1/sources/{id}",
    "DELETE /api/v1/sources/{id}",
    "POST /api/v1/sources/{id}/test",
]


@pytest.fixture(scope="module")
def operations(running_app: FastAPI) -> dict[str, Any]:
    return contract.operations_of(running_app)


@pytest.fixture
def admin(caller: Callable[..., httpx.AsyncClient]) -> httpx.AsyncClient:
    """Who passes every role check, so that requests reach what is behind it."""
    return caller("admin")


def test_every_operation_is_tried(operations: dict[str, Any]) -> None:
    assert set(operations) == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", contract.MODES)
@contract.examples(12)
@given(data=st.data())
async def test_answers_are_as_documented(
    admin: httpx.AsyncClient, operations: dict[str, Any], operation: str, mode: Any, data: st.DataObject
) -> None:
    await contract.check(admin, operations[operation], mode, data)
