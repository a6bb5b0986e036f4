"""Retunes from the request to the bar, which is only set while the detector is as it was measured."""

from typing import Any

import httpx
import pytest

from plumbline_analysis.detectors.schemas import DetectorProposal
from plumbline_analysis.detectors.service import Retuned
from plumbline_analysis.jobs import repository as jobs
from plumbline_analysis.retunes.kind import RETUNE
from plumbline_analysis.retunes.run import Change
from plumbline_analysis.retunes.schemas import RetuneParameters

SIGNALS = "/api/v1/signals"


@pytest.fixture
def operator(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("operator")
    return client


@pytest.fixture
async def detector(world: Any, app: Any, operator: httpx.AsyncClient) -> str:
    """The path of a detector."""
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(70, evaluate=False)
    await world.live(1)
    listed = (await operator.get(SIGNALS)).json()["items"]
    return next(f"{SIGNALS}/{each['id']}/detector" for each in listed if each["kind"] == "indicator")


async def test_a_bar_is_set_once_and_noted_with_who_and_why(
    world: Any, operator: httpx.AsyncClient, detector: str
) -> None:
    response = await operator.post(f"{detector}/retunes", json={"apply": True, "days": 3})
    assert (response.status_code, response.json()["kind"]) == (202, "retune")
    async with world.read_sessions() as session:
        job = await jobs.one(session, response.json()["id"])
        asked = RetuneParameters.model_validate(job.parameters)
        inputs = await RETUNE.gather(session, asked, None, world.settings)
    # Nobody has labelled anything.
    result = RETUNE.run(inputs, lambda share, message: None).result
    assert result is not None
    assert result["proposal"] == (await operator.get(f"{detector}/proposal", params={"days": 3})).json()
    assert (result["applied_revision"], result["now"]) == (None, None)

    tried = (await operator.get(f"{detector}/proposal", params={"bar": 1.4})).json()
    change = Change(DetectorProposal.model_validate(tried), "by labels")
    async with world.sessions.begin() as session:
        await RETUNE.store(session, job, change)
    after = (await operator.get(detector)).json()
    assert (after["bar"], after["revision"]) == (1.4, 1)
    (noted,) = (await operator.get(f"{detector}/revisions")).json()["items"]
    assert (noted["effect"], noted["reason"], noted["applied_by"]) == (tried["effect"], "by labels", job.created_by)

    # By another's hand, or by this job before its worker was lost.
    with pytest.raises(Retuned):
        async with world.sessions.begin() as session:
            await RETUNE.store(session, job, change)


async def test_only_operators_ask(app: Any, sessions: Any, caller: Any, operator: httpx.AsyncClient) -> None:
    path = f"{SIGNALS}/0190a8a0-0000-7000-8000-00000000ffff/detector/retunes"
    assert (await caller("editor").post(path, json={})).status_code == 403
    assert (await operator.post(path, json={})).status_code == 404
    assert (await operator.post(path, json={"days": 0})).status_code == 422
