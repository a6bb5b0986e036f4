from typing import Any

import httpx
import pytest

ANOMALIES = "/api/v1/anomalies"


@pytest.fixture
async def world(world: Any, app: Any) -> Any:
    """With the latency risen."""
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(25)
    await world.live(4, seconds=0.6)
    return world


@pytest.fixture
async def anomaly(world: Any, viewer: httpx.AsyncClient) -> dict[str, Any]:
    """The one that goes on."""
    (found,) = (await viewer.get(ANOMALIES)).json()["items"]
    return dict(found)


@pytest.fixture
def operator(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("operator")
    return client


async def labelled(client: httpx.AsyncClient, anomaly: dict[str, Any], label: str, comment: str = "") -> Any:
    return await client.post(f"{ANOMALIES}/{anomaly['id']}/labels", json={"label": label, "comment": comment})


async def acknowledged(client: httpx.AsyncClient, anomaly: dict[str, Any], match: str | None = "*") -> Any:
    headers = {"If-Match": match} if match else {}
    return await client.post(f"{ANOMALIES}/{anomaly['id']}/acknowledge", headers=headers)


async def now(client: httpx.AsyncClient, anomaly: dict[str, Any]) -> dict[str, Any]:
    return dict((await client.get(f"{ANOMALIES}/{anomaly['id']}")).json())


async def test_an_open_anomaly_is_acknowledged_once(
    world: Any, operator: httpx.AsyncClient, anomaly: dict[str, Any]
) -> None:
    etag = (await operator.get(f"{ANOMALIES}/{anomaly['id']}")).headers["etag"]
    response = await acknowledged(operator, anomaly, etag)
    after = response.json()
    assert (response.status_code, after["state"], after["revision"]) == (200, "acknowledged", anomaly["revision"] + 1)
    assert after["acknowledged_by"]
    assert response.headers["etag"] == f'"{after["revision"]}"'
    assert (await world.events())[-1] == ("anomaly.updated", {"anomaly": after})
    again = await acknowledged(operator, anomaly)
    assert again.status_code == 409
    problem = again.json()
    assert problem["type"] == "urn:plumbline:problem:illegal-transition"
    assert problem["legal"] == ["resolved", "false_positive"]


async def test_an_acknowledgement_needs_the_present_revision(
    operator: httpx.AsyncClient, anomaly: dict[str, Any]
) -> None:
    assert (await acknowledged(operator, anomaly, None)).status_code == 428
    stale = await acknowledged(operator, anomaly, '"999"')
    assert (stale.status_code, stale.headers["etag"]) == (412, f'"{anomaly["revision"]}"')


async def test_an_acknowledged_anomaly_goes_on_and_is_resolved(
    world: Any, operator: httpx.AsyncClient, anomaly: dict[str, Any]
) -> None:
    await acknowledged(operator, anomaly)
    await world.live(75)
    after = await now(operator, anomaly)
    assert (after["state"], after["end"] is not None) == ("resolved", True)
    refused = (await acknowledged(operator, anomaly)).json()
    assert (refused["status"], refused["legal"]) == (409, ["false_positive"])


async def test_a_label_is_kept_told_and_replaced_by_ones_next(
    world: Any, caller: Any, operator: httpx.AsyncClient, anomaly: dict[str, Any]
) -> None:
    first = await labelled(operator, anomaly, "true_positive", "the database")
    assert (first.status_code, first.headers["etag"]) == (201, f'"{anomaly["revision"] + 1}"')
    assert (await now(operator, anomaly))["label"] == "true_positive"
    second = await labelled(operator, anomaly, "false_positive", "no: the backup")
    assert second.status_code == 200
    listed = (await caller("viewer").get(f"{ANOMALIES}/{anomaly['id']}/labels")).json()
    assert listed == {"items": [second.json()], "total": 1}
    assert listed["items"][0]["comment"] == "no: the backup"
    subject, told = (await world.events())[-1]
    after = await now(operator, anomaly)
    assert (subject, told["anomaly"], told["label"]) == ("anomaly.labelled", after, "false_positive")


async def test_the_label_decides_on_the_state_and_the_evaluation_leaves_it(
    world: Any, operator: httpx.AsyncClient, anomaly: dict[str, Any]
) -> None:
    await labelled(operator, anomaly, "true_positive")
    assert (await now(operator, anomaly))["state"] == "open"
    await labelled(operator, anomaly, "false_positive")
    assert (await now(operator, anomaly))["state"] == "false_positive"
    refused = (await acknowledged(operator, anomaly)).json()
    assert (refused["status"], refused["legal"]) == (409, [])
    await labelled(operator, anomaly, "true_positive")
    assert (await now(operator, anomaly))["state"] == "acknowledged"
    await labelled(operator, anomaly, "false_positive")
    await world.live(75)
    ended = await now(operator, anomaly)
    assert (ended["state"], ended["end"] is not None) == ("false_positive", True)
    await labelled(operator, anomaly, "true_positive")
    assert (await now(operator, anomaly))["state"] == "resolved"


async def test_a_false_positive_is_not_held_against_the_requirement(
    world: Any, operator: httpx.AsyncClient, anomaly: dict[str, Any]
) -> None:
    assert (await world.current() or {})["anomalies"] == [anomaly["id"]]
    await labelled(operator, anomaly, "false_positive")
    await world.live(1, seconds=0.6)
    current = await world.current() or {}
    assert current["anomalies"] == []
    assert "an anomaly that goes on" not in current["reason"]


async def test_a_label_that_is_sent_twice_is_given_once(
    world: Any, operator: httpx.AsyncClient, anomaly: dict[str, Any]
) -> None:
    path, content = f"{ANOMALIES}/{anomaly['id']}/labels", {"label": "true_positive"}
    first, again = [await operator.post(path, json=content, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["etag"] == first.headers["etag"]
    assert [subject for subject, _ in await world.events()].count("anomaly.labelled") == 1


async def test_labels_are_for_those_on_call_and_for_anomalies_that_there_are(
    caller: Any, operator: httpx.AsyncClient, anomaly: dict[str, Any]
) -> None:
    assert (await labelled(caller("viewer"), anomaly, "true_positive")).status_code == 403
    assert (await labelled(caller("editor"), anomaly, "true_positive")).status_code == 201
    missing = {"id": "0190a8a0-0000-7000-8000-00000000ffff"}
    assert (await labelled(operator, missing, "true_positive")).status_code == 404
    assert (await operator.get(f"{ANOMALIES}/{missing['id']}/labels")).status_code == 404
    wrong = await labelled(operator, anomaly, "maybe")
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/label")
