from datetime import datetime
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies import of_logs
from plumbline_analysis.anomalies.of_logs import Departure
from plumbline_analysis.deployments import repository as deployments
from plumbline_common import db
from plumbline_common.schemas import LogEvidence, utc

SVG = "{http://www.w3.org/2000/svg}"
NOBODY = "0190a8a0-0000-7000-8000-00000000ffff"


async def deploy(session: AsyncSession, version: str, at: datetime) -> None:
    none: dict[str, Any] = dict.fromkeys(("environment", "url", "external_id"))
    await deployments.add(
        session, id=db.new_id(), service="shop", version=version, deployed_at=at,
        description="", recorded_at=at, recorded_by="pipeline", **none,
    )  # fmt: skip


async def drawn(viewer: httpx.AsyncClient, path: str, **asked: Any) -> ElementTree.Element:
    reply = await viewer.get(path, params=asked)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "image/svg+xml"
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    return ElementTree.fromstring(reply.text)


def classes(root: ElementTree.Element) -> set[str]:
    return {each.get("class") or "" for each in root.iter()}


async def test_an_anomaly_and_its_signal_are_drawn_with_band_and_objective(
    app: Any, viewer: httpx.AsyncClient, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = app.state.settings.model_copy(update={"evaluation_interval_seconds": world.step})
    monkeypatch.setitem(app.state._state, "settings", native)
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(30)
    async with world.sessions.begin() as session:
        await deploy(session, "2.3.1", world.now)
    await world.live(4, seconds=0.6)
    await world.live(6)
    (anomaly,) = (await viewer.get("/api/v1/anomalies")).json()["items"]
    root = await drawn(viewer, f"/api/v1/anomalies/{anomaly['id']}/plot.svg")
    assert root.findtext(f"{SVG}title") == anomaly["title"]
    assert {"band", "line", "span", "peak", "limit", "mark"} <= classes(root)
    assert [each.text for each in root.iter() if each.get("class") == "mark-text"] == ["shop 2.3.1"]

    path = f"/api/v1/signals/{anomaly['signal_id']}/plot.svg"
    asked = {"from": utc(world.start), "to": utc(world.now)}
    root = await drawn(viewer, path, **asked, theme="dark")
    assert root.findtext(f"{SVG}title") == "p95 of http.server.request.duration of shop"
    assert {"band", "line", "span", "limit"} <= classes(root)

    # A raw signal has neither band nor objective.
    signals = (await viewer.get("/api/v1/signals")).json()["items"]
    raw = next(each for each in signals if each["kind"] == "histogram")
    root = await drawn(viewer, f"/api/v1/signals/{raw['id']}/plot.svg", **asked)
    assert "line" in classes(root)
    assert not {"band", "span", "limit"} & classes(root)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/api/v1/anomalies/{NOBODY}/plot.svg", 404),
        (f"/api/v1/signals/{NOBODY}/plot.svg", 404),
        (f"/api/v1/anomalies/{NOBODY}/plot.svg?theme=pink", 422),
        ("/api/v1/signals/x/plot.svg", 422),
    ],
)
async def test_what_can_not_be_drawn_is_a_problem(viewer: httpx.AsyncClient, path: str, status: int) -> None:
    reply = await viewer.get(path)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")


async def test_who_may_not_read_sees_no_picture(collector: httpx.AsyncClient) -> None:
    assert (await collector.get(f"/api/v1/anomalies/{NOBODY}/plot.svg")).status_code == 403


async def test_an_anomaly_of_logs_has_no_series_to_draw(app: Any, viewer: httpx.AsyncClient) -> None:
    departure = Departure(
        signal_id=UUID(int=9), service="shop", aggregation="count", unit="{record}", direction="up",
        onset=1_700_000_000_000_000, peak_at=1_700_000_060_000_000, score=2.0,
        value=90.0, expected=1.0, lower=0.0, upper=4.0, title="a template came 90 times",
        evidence=LogEvidence(
            kind="rate", template_id=None, template=None, examples=[], shares=[], interval_seconds=60
        ),
    )  # fmt: skip
    async with app.state.sessions.begin() as session:
        anomaly, _ = await of_logs.open_one(session, departure, [])
    assert (await viewer.get(f"/api/v1/anomalies/{anomaly.id}/plot.svg")).status_code == 404
