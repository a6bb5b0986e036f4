"""Log mining over what is stored, step by step, and over lines that are sent along."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from plumbline_analysis.jobs import repository as jobs
from plumbline_analysis.log_mining import kind
from plumbline_analysis.log_mining.kind import LOG_MINING
from plumbline_analysis.log_mining.schemas import PARTS, LogMiningParameters
from plumbline_common.errors import NotFound

PATH = "/api/v1/log-templates/mining"


@pytest.fixture
def editor(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("editor")
    return client


@pytest.fixture
async def logged(log_world: Any, app: Any) -> Any:
    """An hour of ordinary minutes, in the last five of which disks were full."""
    await log_world.minutes(55, evaluate=False)
    await log_world.minutes(5, evaluate=False, **{"disk full": 30})
    return log_world


async def done(world: Any, client: httpx.AsyncClient, **content: Any) -> dict[str, Any]:
    """The result of a mining, run here."""
    response = await client.post(PATH, json=content)
    assert response.status_code == 202, response.text
    async with world.read_sessions() as session:
        job = await jobs.one(session, response.json()["id"])
        asked, checkpoint, result = LogMiningParameters.model_validate(job.parameters), None, None
        while result is None:
            inputs = await LOG_MINING.gather(session, asked, checkpoint, world.settings)
            step = LOG_MINING.run(inputs, lambda share, message: None)
            checkpoint, result = step.checkpoint, step.result
    return result


async def test_templates_come_with_their_counts_over_time_and_what_changed(
    logged: Any, editor: httpx.AsyncClient
) -> None:
    result = await done(logged, editor, service="shop")
    by_text = {each["template"]: each for each in result["templates"]}
    assert set(by_text) == {"cart paid", "stock counted", "door opened", "disk full"}
    full = by_text["disk full"]
    assert (full["count"], sum(full["counts"]), len(full["counts"])) == (150, 150, PARTS)
    assert not any(full["counts"][: PARTS - 6])
    assert full["examples"] == ["disk full"]
    assert full["first_seen"] > by_text["cart paid"]["first_seen"]
    assert result["lines"] == sum(each["count"] for each in result["templates"])
    assert (result["templates_total"], result["others"]) == (4, 0)
    new = [each for each in result["changes"] if each["kind"] == "new"]
    assert [each["template"] for each in new] == ["disk full"]
    assert await logged.templates() == {}


async def test_steps_of_any_length_come_to_the_same(
    logged: Any, editor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await done(logged, editor, service="shop")
    monkeypatch.setattr(kind, "AT_ONCE", 500)
    assert await done(logged, editor, service="shop") == whole


async def test_only_the_range_is_mined(logged: Any, editor: httpx.AsyncClient) -> None:
    end = logged.start + timedelta(minutes=50)
    result = await done(logged, editor, service="shop", end=end.isoformat())
    assert "disk full" not in {each["template"] for each in result["templates"]}
    with pytest.raises(NotFound, match="no lines of the service shop are kept of that time"):
        await done(logged, editor, service="shop", end=(logged.start - timedelta(days=1)).isoformat())


async def test_lines_that_are_sent_along_are_counted_by_their_numbers(
    log_world: Any, app: Any, editor: httpx.AsyncClient
) -> None:
    lines = [f"cart {number} paid" for number in range(96)] + ["door opened"]
    result = await done(log_world, editor, lines=lines)
    paid, opened = result["templates"]
    assert (paid["template"], paid["count"], paid["first_seen"]) == ("cart <*> paid", 96, None)
    assert (opened["template"], opened["counts"][-1], sum(opened["counts"])) == ("door opened", 1, 1)
    assert (result["lines"], result["changes"], result["start"]) == (97, [], None)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({}, 422),
        ({"service": "shop", "lines": ["a"]}, 422),
        ({"lines": []}, 422),
        ({"lines": ["a"], "start": "2026-01-01T00:00:00Z"}, 422),
        ({"service": "nobody"}, 404),
    ],
)
async def test_what_cannot_be_mined_is_refused(
    app: Any, sessions: Any, editor: httpx.AsyncClient, content: dict[str, Any], status: int
) -> None:
    response = await editor.post(PATH, json=content)
    assert response.status_code == status, response.text


async def test_times_that_no_lines_are_kept_of_are_named(logged: Any, editor: httpx.AsyncClient) -> None:
    response = await editor.post(PATH, json={"service": "shop", "start": "2020-01-01T00:00:00Z"})
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/start")
