import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from plumbline_common.events import Received, VerdictChanged
from plumbline_common.schemas import Verdict, VerdictState
from plumbline_requirements.consumer import subscription

PATH = "/api/v1/requirements"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
positions = iter(range(1_000_000, 2_000_000))


def verdict(
    requirement: str, state: VerdictState, *, revision: int = 1, minutes: int = 0
) -> Received[VerdictChanged]:
    at = NOON + timedelta(minutes=minutes)
    position = next(positions)
    return Received(
        id=UUID(int=position),
        producer="tests",
        position=position,
        time=at,
        data=VerdictChanged(
            verdict=Verdict(
                requirement_id=UUID(requirement),
                revision=revision,
                state=state,
                previous=None,
                window_start=at - timedelta(hours=1),
                window_end=at,
                objectives=[],
                anomalies=[],
                reason="tested",
            ),
            changed_at=at,
        ),
    )


@pytest.fixture
def judge(app: Any) -> Any:
    return subscription(app.state.sessions).handlers[VerdictChanged]


@pytest.fixture
async def requirement(alice: httpx.AsyncClient) -> str:
    return str((await alice.post(PATH, json={"title": "Checkout answers"})).json()["id"])


async def shown(client: httpx.AsyncClient, id: str) -> Any:
    return (await client.get(f"{PATH}/{id}")).json()["verdict"]


async def test_the_newest_verdict_is_shown_whatever_the_order(
    judge: Any, requirement: str, alice: httpx.AsyncClient
) -> None:
    await judge(verdict(requirement, VerdictState.VIOLATED, minutes=2))
    await judge(verdict(requirement, VerdictState.MET, minutes=1))
    found = await shown(alice, requirement)
    assert found["state"] == "VIOLATED"
    assert found["stale"] is False
    page = (await alice.get(PATH)).json()
    assert page["items"][0]["verdict"] == found


async def test_a_double_counts_once_even_at_the_same_time(
    judge: Any, requirement: str, alice: httpx.AsyncClient
) -> None:
    event = verdict(requirement, VerdictState.AT_RISK)
    await asyncio.gather(*(judge(event) for _ in range(5)))
    assert (await shown(alice, requirement))["state"] == "AT_RISK"


async def test_a_verdict_is_no_revision_and_an_edit_makes_it_stale(
    judge: Any, requirement: str, alice: httpx.AsyncClient
) -> None:
    await judge(verdict(requirement, VerdictState.MET))
    response = await alice.patch(f"{PATH}/{requirement}", json={"title": "Other"}, headers={"If-Match": '"1"'})
    assert response.status_code == 200
    assert response.json()["verdict"]["stale"] is True
    await judge(verdict(requirement, VerdictState.MET, revision=2, minutes=5))
    assert (await shown(alice, requirement))["stale"] is False


async def test_a_verdict_on_what_is_gone_is_passed_over(judge: Any, clean: None) -> None:
    await judge(verdict("0199a0b0-0000-7000-8000-000000000001", VerdictState.MET))
