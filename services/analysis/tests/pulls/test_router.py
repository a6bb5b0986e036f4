from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi import FastAPI

import bad_days
from bad_days import BadDays, answer, matrix
from plumbline_analysis.pulls.asking import Asker

PATH = "/api/v1/sources"
EXAMPLES = Path(__file__).parents[4] / "examples" / "sources"
QUERY = {"name": "orders", "query": "sum by (job) (rate(orders_total[5m]))"}
SPEC = {"url": "https://prometheus.example.org", "queries": [QUERY]}
SOURCE = {"name": "eu", "kind": "prometheus", "spec": SPEC}
CPU = {
    "name": "cpu", "namespace": "AWS/EC2", "metric_name": "CPUUtilization", "dimensions": {"InstanceId": "i-1"},
}  # fmt: skip
CLOUDWATCH = {"name": "aws", "kind": "cloudwatch", "spec": {"region": "eu-west-1", "queries": [CPU]}}


@pytest.fixture
def operator(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("operator")
    return client


@pytest.fixture
def asks_here(app: FastAPI, fake: BadDays) -> Iterator[BadDays]:
    """The server on its bad days, which may be asked."""
    usual = app.state.asker
    app.state.asker = Asker(app.state.settings.model_copy(update={"pull_allowed": ("127.0.0.1",)}))
    yield fake
    app.state.asker = usual


async def created(client: httpx.AsyncClient, **members: Any) -> dict[str, Any]:
    response = await client.post(PATH, json=SOURCE | members)
    assert response.status_code == 201, response.text
    return dict(response.json())


async def test_a_source_is_created_read_and_listed(operator: httpx.AsyncClient, viewer: httpx.AsyncClient) -> None:
    response = await operator.post(PATH, json=SOURCE)
    made = response.json()
    assert (response.status_code, response.headers["etag"]) == (201, '"1"')
    assert made["spec"]["queries"] == [QUERY | {"unit": "", "kind": "gauge", "service": None, "service_label": "job"}]
    assert (made["spec"]["up"], made["interval_seconds"], made["created_by"]) == (True, 60, made["updated_by"])
    assert made["status"] == {
        "state": "pending", "last_success": None, "last_error": None, "failing_since": None, "next_try": None,
        "lag_seconds": None, "points": 0, "warnings": [], "backfill": None,
    }  # fmt: skip
    read = await viewer.get(response.headers["location"])
    assert (read.json(), read.headers["etag"]) == (made, '"1"')
    other = (await operator.post(PATH, json=CLOUDWATCH)).json()
    assert (await viewer.get(PATH)).json() == {"items": [other, made], "total": 2}
    assert (await viewer.get(PATH, params={"name": "eu"})).json() == {"items": [made], "total": 1}
    assert (await viewer.get(PATH, params={"skip": 1, "limit": 1})).json() == {"items": [made], "total": 2}


@pytest.mark.parametrize("file", sorted(EXAMPLES.iterdir()), ids=lambda file: file.name)
async def test_the_examples_are_taken(operator: httpx.AsyncClient, file: Path) -> None:
    response = await operator.post(PATH, json=yaml.safe_load(file.read_text()))
    assert response.status_code == 201, response.text


async def test_a_source_is_changed_and_deleted_by_who_has_read_it(
    operator: httpx.AsyncClient, viewer: httpx.AsyncClient
) -> None:
    made = await created(operator)
    path = f"{PATH}/{made['id']}"
    content = SOURCE | {"enabled": False, "interval_seconds": 30}
    assert (await operator.put(path, json=content)).status_code == 428
    changed = await operator.put(path, json=content, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert (changed.json()["status"]["state"], changed.json()["interval_seconds"]) == ("disabled", 30)
    assert (await operator.put(path, json=content, headers={"If-Match": '"1"'})).status_code == 412
    assert (await operator.delete(path)).status_code == 428
    assert (await operator.delete(path, headers={"If-Match": '"2"'})).status_code == 204
    assert (await viewer.get(path)).status_code == 404


async def test_a_name_is_taken_once_and_kept(operator: httpx.AsyncClient) -> None:
    made = await created(operator)
    again = await operator.post(PATH, json=SOURCE)
    assert (again.status_code, again.json()["type"]) == (409, "urn:plumbline:problem:source-exists")
    renamed = await operator.put(f"{PATH}/{made['id']}", json=SOURCE | {"name": "us"}, headers={"If-Match": "*"})
    assert (renamed.status_code, renamed.json()["errors"][0]["pointer"]) == (409, "/name")


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({"url": "ftp://prometheus"}, "/spec/url"),
        ({"url": "http://user:secret@prometheus"}, "/spec/url"),
        ({"url": "http://prometheus/?x=1"}, "/spec/url"),
        ({"url": "http://prometheus:99999"}, "/spec/url"),
        ({"queries": []}, "/spec/queries"),
        ({"queries": [QUERY, QUERY]}, "/spec"),
        ({"queries": [QUERY | {"kind": "rate"}]}, "/spec/queries/0/kind"),
        ({"step_seconds": 0}, "/spec/step_seconds"),
        ({"bearer_token": "../../etc/passwd"}, "/spec/bearer_token"),
        ({"headers": {"X-Scope-OrgID": "a b"}}, "/spec/headers/X-Scope-OrgID"),
    ],
)
async def test_what_is_no_source_is_refused_with_its_member(
    operator: httpx.AsyncClient, spec: dict[str, Any], pointer: str
) -> None:
    response = await operator.post(PATH, json=SOURCE | {"spec": SPEC | spec})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer
    assert "secret@" not in response.text


async def test_a_kind_that_there_is_not_is_refused(operator: httpx.AsyncClient) -> None:
    for content in (SOURCE | {"kind": "graphite"}, {"name": "eu", "spec": SPEC}, SOURCE | {"kind": []}, []):
        response = await operator.post(PATH, json=content)
        assert (response.status_code, response.json()["errors"][0]["detail"]) == (
            422, "the kind must be prometheus or cloudwatch"
        )  # fmt: skip


async def test_an_address_that_may_not_be_asked_is_refused(operator: httpx.AsyncClient) -> None:
    for url in ("http://169.254.169.254", "http://[fe80::1]:9090", "http://127.0.0.1:9090"):
        response = await operator.post(PATH, json=SOURCE | {"spec": SPEC | {"url": url}})
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (409, "/spec/url")
    spec = CLOUDWATCH["spec"] | {"endpoint_url": "http://169.254.169.254"}  # type: ignore[operator]
    response = await operator.post(PATH, json=CLOUDWATCH | {"spec": spec})
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (409, "/spec/endpoint_url")


async def test_who_only_reads_changes_and_tries_nothing(
    operator: httpx.AsyncClient, viewer: httpx.AsyncClient
) -> None:
    path = f"{PATH}/{(await created(operator))['id']}"
    for response in (
        await viewer.post(PATH, json=SOURCE),
        await viewer.put(path, json=SOURCE, headers={"If-Match": "*"}),
        await viewer.delete(path, headers={"If-Match": "*"}),
        await viewer.post(f"{path}/test"),
    ):
        assert response.status_code == 403


async def test_a_query_is_tried_and_nothing_stored(
    asks_here: BadDays, operator: httpx.AsyncClient, viewer: httpx.AsyncClient
) -> None:
    path = f"{PATH}/{(await created(operator, spec=SPEC | {'url': asks_here.url}))['id']}"
    tried = (await operator.post(f"{path}/test")).json()
    assert tried | {"query": "orders", "series": 1, "points": 20, "warnings": [], "problem": None} == tried
    assert 0 < tried["seconds"] < 5
    assert (await operator.post(f"{path}/test", params={"query": "up"})).json()["query"] == "up"
    assert (await operator.post(f"{path}/test", params={"query": "none"})).status_code == 404
    assert (await viewer.get("/api/v1/signals")).json()["total"] == 0
    asks_here.behaviour = answer(matrix(warnings=["a store is away"]))
    assert (await operator.post(f"{path}/test")).json()["warnings"] == ["a store is away"]


async def test_what_is_wrong_is_told_to_who_tries(asks_here: BadDays, operator: httpx.AsyncClient) -> None:
    spec = SPEC | {"url": asks_here.url, "timeout_seconds": 0.2}
    path = f"{PATH}/{(await created(operator, spec=spec))['id']}/test"
    asks_here.once = [answer(b"<html>", kind="text/html"), bad_days.stall]
    problems = [(await operator.post(path)).json()["problem"] for _ in range(2)]
    assert [(each["reason"], each["query"]) for each in problems] == [("html", "orders"), ("timeout", "orders")]
    assert problems[1]["detail"] == "timed out after 0.2 s"
