"""OpenSLO in and out, through the API, on a real database."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from sqlalchemy import text

from lifecycle import PATH, activated, created
from openslo_strategies import DOCUMENTS
from plumbline_common.openslo import checking, reading, slos
from plumbline_common.openslo.objects import SLO
from plumbline_common.openslo.slos import NotForPlumbline

DATA = Path(os.environ.get("PLUMBLINE_DATA") or Path(__file__).parents[5] / "shared" / "data") / "openslo"
IMPORT, EXPORT, OBJECTS = (f"/api/v1/openslo/{name}" for name in ("import", "export", "objects"))
YAML = {"Content-Type": "application/yaml"}

SLI = """\
apiVersion: openslo/v1
kind: SLI
metadata:
  name: answered
spec:
  ratioMetric:
    counter: true
    good:
      metricSource:
        type: Plumbline
        spec:
          metric: good
    total:
      metricSource:
        type: Plumbline
        spec:
          metric: all
"""
CHECKOUT = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: checkout
  displayName: Checkout answers
spec:
  description: What a customer waits for.
  service: web-shop
  indicatorRef: answered
  timeWindow:
    - duration: 30d
      isRolling: true
  budgetingMethod: Occurrences
  objectives:
    - target: 0.999
"""


async def imported(client: httpx.AsyncClient, content: str, **query: Any) -> dict[str, Any]:
    response = await client.post(IMPORT, content=content.encode(), headers=YAML, params=query)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def refused(client: httpx.AsyncClient, content: str | bytes, **query: Any) -> dict[str, Any]:
    response = await client.post(IMPORT, content=content, headers=YAML, params=query)
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem: dict[str, Any] = response.json()
    assert problem["status"] == response.status_code
    return problem


async def listed(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await client.get(PATH, params={"sort": "key"})).json()["items"]
    return items


async def exported(client: httpx.AsyncClient, **query: Any) -> list[Any]:
    text = (await client.get(EXPORT, params=query)).text
    assert text.rstrip().rpartition("\n")[2].startswith("# ")
    return [node.plain() for node in reading.read(text)]


def actions(done: dict[str, Any]) -> dict[str, str]:
    return {f"{each['kind']} {each['name']}": each["action"] for each in done["changes"]}


async def test_an_slo_makes_a_requirement_and_comes_out_as_it_went_in(alice: httpx.AsyncClient) -> None:
    done = await imported(alice, f"{SLI}---\n{CHECKOUT}", owner_team="payments", reason="from git")
    assert (done["created"], done["updated"], done["unchanged"], done["warnings"]) == (2, 0, 0, [])
    (requirement,) = await listed(alice)
    (slo,) = requirement["slos"]
    assert (requirement["title"], requirement["service"]) == ("Checkout answers", "web-shop")
    assert (requirement["owner_team"], requirement["status"]) == ("payments", "draft")
    assert requirement["description"] == slo["description"] == "What a customer waits for."
    assert slo["indicatorRef"] == slo["indicator"]["name"] == "answered"
    assert "service" not in slo
    assert done["changes"][1]["requirement"] == {
        name: requirement[name] for name in ("id", "key", "title", "revision")
    }
    again = await exported(alice)
    given = [node.plain() for node in reading.read(f"{CHECKOUT}---\n{SLI}")]
    given[0]["metadata"]["annotations"] = {"plumbline/requirement": requirement["key"]}
    assert again == given

    same = await imported(alice, (await alice.get(EXPORT)).text)
    assert (same["created"], same["updated"], same["unchanged"]) == (0, 0, 2)
    assert (await listed(alice))[0]["revision"] == 1


async def test_a_dry_run_tells_what_would_change_and_changes_nothing(alice: httpx.AsyncClient) -> None:
    told = await imported(alice, f"{SLI}---\n{CHECKOUT}", dry_run=True)
    assert (told["dry_run"], told["created"]) == (True, 2)
    assert await listed(alice) == []
    assert (await alice.get(OBJECTS)).json()["total"] == 0
    await imported(alice, f"{SLI}---\n{CHECKOUT}")
    stricter = CHECKOUT.replace("0.999", "0.9999").replace("      isRolling: true\n", "")
    told = await imported(alice, stricter, dry_run=True)
    (change,) = told["changes"]
    assert change["differences"] == [{"pointer": "/spec/objectives/0/target", "before": 0.999, "after": 0.9999}]
    (requirement,) = await listed(alice)
    assert (change["requirement"]["key"], requirement["revision"]) == (requirement["key"], 1)
    assert requirement["key"] == f"REQ-{int(requirement['key'][4:])}"


async def test_an_edit_of_a_target_is_a_new_revision_and_what_is_in_force_stays(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient
) -> None:
    await imported(alice, f"{SLI}---\n{CHECKOUT}")
    (requirement,) = await listed(alice)
    active = await activated(alice, rita, requirement["id"])
    done = await imported(alice, CHECKOUT.replace("0.999", "0.9"), reason="too strict")
    assert done["changes"][0]["requirement"]["revision"] == active["revision"] + 1
    (draft,) = await listed(alice)
    assert (draft["status"], draft["in_force"]) == ("draft", active["revision"])
    assert draft["slos"][0]["objectives"][0]["target"] == 0.9
    in_force = await exported(alice, which="in_force", kind="SLO")
    assert in_force[0]["spec"]["objectives"] == [{"target": 0.999}]
    history = (await alice.get(f"{PATH}/{draft['id']}/revisions")).json()["items"]
    assert "too strict" in {entry["reason"] for entry in history}


async def test_a_new_sli_makes_new_revisions_of_what_pins_it(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, caller: Any
) -> None:
    await imported(alice, f"{SLI}---\n{CHECKOUT}", owner_team="payments")
    (requirement,) = await listed(alice)
    active = await activated(alice, rita, requirement["id"])
    wider = SLI.replace("metric: all", "metric: every")
    other = caller("editor", subject="bob", teams=("search",))
    assert (await refused(other, wider))["type"].endswith(":not-your-team")
    assert (await alice.get(f"{OBJECTS}/SLI/answered")).json()["revision"] == 1

    done = await imported(alice, wider)
    assert actions(done) == {"SLI answered": "updated", "SLO checkout": "updated"}
    assert done["changes"][1]["because"] == "the SLI answered changes"
    (draft,) = await listed(alice)
    assert (draft["revision"], draft["in_force"]) == (active["revision"] + 1, active["revision"])
    ratio = draft["slos"][0]["indicator"]["ratioMetric"]
    assert ratio["total"]["metricSource"]["spec"]["metric"] == "every"
    before = (await alice.get(f"{PATH}/{draft['id']}/revisions/{active['revision']}")).json()
    pinned = before["requirement"]["slos"] if "requirement" in before else before["slos"]
    assert pinned[0]["indicator"]["ratioMetric"]["total"]["metricSource"]["spec"]["metric"] == "all"


async def test_an_sli_may_come_after_the_slo_that_refers_to_it(alice: httpx.AsyncClient) -> None:
    done = await imported(alice, CHECKOUT)
    assert [each["detail"] for each in done["warnings"]] == ["there is no SLI answered among these"]
    assert done["warnings"][0]["pointer"] == "/spec/indicatorRef"
    assert "indicator" not in (await listed(alice))[0]["slos"][0]
    await imported(alice, SLI)
    (requirement,) = await listed(alice)
    assert requirement["revision"] == 2
    assert requirement["slos"][0]["indicator"]["name"] == "answered"
    assert (await imported(alice, CHECKOUT))["warnings"] == []


async def test_the_api_pins_the_sli_too(alice: httpx.AsyncClient) -> None:
    await imported(alice, SLI)
    slo = {
        "name": "search",
        "indicatorRef": "answered",
        "timeWindow": [{"duration": "30d"}],
        "objectives": [{"target": 0.9}],
    }
    made = await created(alice, slos=[slo])
    assert made["slos"][0]["indicator"]["name"] == "answered"
    unknown = await created(alice, slos=[slo | {"indicatorRef": "unknown"}])
    assert "indicator" not in unknown["slos"][0]
    twice = await alice.post(PATH, json={"title": "x", "slos": [slo, slo]})
    assert (twice.status_code, twice.json()["errors"][0]["pointer"]) == (422, "/slos")


async def test_an_annotation_says_which_requirement_is_meant(alice: httpx.AsyncClient) -> None:
    one, other = await created(alice, title="One"), await created(alice, title="Other")
    annotated = CHECKOUT.replace("  displayName", "  annotations: {plumbline/requirement: KEY}\n  displayName")
    for each in (one, other):
        done = await imported(alice, annotated.replace("KEY", each["key"]))
        assert done["changes"][0]["action"] == "created"
        assert done["changes"][0]["requirement"]["key"] == each["key"]
    problem = await refused(alice, CHECKOUT)
    assert f"{one['key']}, {other['key']} have an SLO of this name" in problem["errors"][0]["detail"]
    both = (await alice.get(EXPORT)).text
    assert actions(await imported(alice, both)) == {"SLO checkout": "unchanged"}
    assert (await imported(alice, both))["unchanged"] == 2
    unknown = await imported(alice, annotated.replace("KEY", "REQ-999999").replace("name: checkout", "name: c2"))
    assert unknown["created"] == 1
    assert "there is no requirement REQ-999999" in [each["detail"] for each in unknown["warnings"]]


async def test_nothing_is_written_where_one_object_is_wrong(alice: httpx.AsyncClient) -> None:
    problem = await refused(alice, f"{SLI}---\n{CHECKOUT.replace('0.999', '99.9')}")
    assert (problem["status"], problem["type"]) == (422, "urn:plumbline:problem:openslo-invalid")
    assert problem["errors"] == [
        {
            "line": 33,
            "column": 7,
            "document": 2,
            "pointer": "/spec/objectives/0/target",
            "subject": "SLO checkout",
            "detail": "must be less than 1, not 99.9",
        }
    ]
    assert await listed(alice) == []
    assert (await alice.get(OBJECTS)).json()["total"] == 0


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        ("apiVersion: openslo/v1alpha\nkind: SLO", 422, "To convert"),
        ("apiVersion: openslo.com/v2alpha\nkind: SLO", 422, "To convert"),
        ("apiVersion: openslo/v1\nkind: Dashboard", 422, "there is no kind Dashboard"),
        (BOMB, 422, "values"),
        ("[" * 10_000, 422, "nested"),
        ("a: &a {b: *a}", 422, "itself"),
        ("a: 1\na: 2", 422, "twice"),
        (b"\xff\xfe", 422, "UTF-8"),
        (CHECKOUT.replace("30d", "0d"), 422, "positive whole number"),
        (
            CHECKOUT.replace(
                "      isRolling: true",
                "      calendar: {startTime: 2026-02-30 00:00:00, timeZone: UTC}",
            ),
            422,
            "there is no such time",
        ),
        ("x" * (9 * 2**20), 413, "larger than"),
        ("", 200, ""),
    ],
)
async def test_hostile_texts_are_refused_with_the_place(
    alice: httpx.AsyncClient, content: str | bytes, status: int, said: str
) -> None:
    response = await alice.post(IMPORT, content=content, headers=YAML)
    assert response.status_code == status, response.text
    assert said in response.text
    assert await listed(alice) == []


async def test_byte_order_marks_and_carriage_returns_do_no_harm(alice: httpx.AsyncClient) -> None:
    await imported(alice, "\ufeff" + f"{SLI}---\n{CHECKOUT}".replace("\n", "\r\n"))
    assert (await listed(alice))[0]["description"] == "What a customer waits for."


async def test_json_comes_in_and_goes_out_too(alice: httpx.AsyncClient) -> None:
    documents = [node.plain() for node in reading.read(f"{CHECKOUT}---\n{SLI}")]
    done = await alice.post(IMPORT, json=documents)
    assert done.json()["created"] == 2
    out = (await alice.get(EXPORT, params={"format": "json"})).json()
    assert [each["kind"] for each in out] == ["SLO", "SLI"]
    assert (await alice.post(IMPORT, json=out)).json()["unchanged"] == 2
    plain = await alice.post(IMPORT, content=b"x", headers={"Content-Type": "text/plain"})
    assert plain.status_code == 415


async def test_an_import_with_a_key_is_done_once(alice: httpx.AsyncClient) -> None:
    headers = YAML | {"Idempotency-Key": "import-1"}
    first = await alice.post(IMPORT, content=CHECKOUT, headers=headers)
    second = await alice.post(IMPORT, content=CHECKOUT, headers=headers)
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert len(await listed(alice)) == 1


async def test_export_of_a_team_has_what_its_slos_refer_to(alice: httpx.AsyncClient) -> None:
    service = "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: web-shop}\nspec: {}\n"
    unused = service.replace("web-shop", "unused")
    source = (
        "apiVersion: openslo/v1\nkind: DataSource\nmetadata: {name: prom}\n"
        "spec: {type: Prometheus, connectionDetails: {url: http://prometheus, api-key: abc}}\n"
    )
    sli = SLI.replace("type: Plumbline", "metricSourceRef: prom").replace("metric: ", "query: ")
    done = await imported(alice, "---\n".join([service, unused, source, sli, CHECKOUT]), owner_team="payments")
    assert [each["pointer"] for each in done["warnings"]] == ["/spec/connectionDetails/api-key"]
    names = [(each["kind"], each["metadata"]["name"]) for each in await exported(alice, owner_team="payments")]
    assert names[0] == ("SLO", "checkout")
    assert sorted(names[1:]) == [("DataSource", "prom"), ("SLI", "answered"), ("Service", "web-shop")]
    assert await exported(alice, owner_team="search") == []
    assert [each["kind"] for each in await exported(alice, kind="Service")] == ["Service", "Service"]


async def test_shared_objects_are_listed_read_and_deleted(alice: httpx.AsyncClient, caller: Any) -> None:
    slashed = SLI.replace("name: answered", "name: a/b")
    await imported(alice, f"{SLI}---\n{slashed}---\n{CHECKOUT}")
    page = (await alice.get(OBJECTS, params={"kind": "SLI", "limit": 1})).json()
    assert (page["total"], [each["name"] for each in page["items"]]) == (2, ["a/b"])
    one = await alice.get(f"{OBJECTS}/SLI/a%2Fb")
    assert (one.status_code, one.headers["etag"], one.json()["created_by"]) == (200, '"1"', "alice")
    assert (await alice.delete(f"{OBJECTS}/SLI/a/b")).status_code == 428
    assert (await alice.delete(f"{OBJECTS}/SLI/a/b", headers={"If-Match": '"1"'})).status_code == 204
    assert (await alice.get(f"{OBJECTS}/SLI/a/b")).status_code == 404
    used = await alice.delete(f"{OBJECTS}/SLI/answered", headers={"If-Match": "*"})
    assert (used.status_code, used.json()["type"]) == (409, "urn:plumbline:problem:in-use")
    audit = (await caller("reviewer").get("/api/v1/audit", params={"entity_id": "SLI/a/b"})).json()["items"]
    assert [each["entry"]["action"] for each in audit] == ["deleted", "created"]


async def test_slos_in_force_become_prometheus_rules(alice: httpx.AsyncClient, rita: httpx.AsyncClient) -> None:
    sli = SLI.replace("type: Plumbline", "type: Prometheus").replace("metric: ", "query: ")
    ours = CHECKOUT.replace("name: checkout", "name: ours").replace("answered", "ours")
    await imported(alice, "---\n".join([sli, CHECKOUT, SLI.replace("answered", "ours"), ours]))
    rules = "/api/v1/openslo/rules"
    none = (await alice.get(rules)).text
    assert none == "groups:\n  []\n# 0 of 0 SLOs\n"
    for requirement in await listed(alice):
        await activated(alice, rita, requirement["id"])
    text = (await alice.get(rules)).text
    assert text.endswith("# 1 of 2 SLOs\n")
    assert "ours: only sources of the type Prometheus become rules, not Plumbline" in text
    (groups,) = [node.plain()["groups"] for node in reading.read(text)]
    assert len(groups) == 2
    assert groups[1]["rules"][0]["alert"] == "SLOErrorBudgetBurn"


async def test_slos_in_force_are_told_of(alice: httpx.AsyncClient, rita: httpx.AsyncClient, app: FastAPI) -> None:
    async def told(id: str) -> list[tuple[str, dict[str, Any]]]:
        query = "SELECT subject, data FROM outbox WHERE key = :id AND subject LIKE 'requirements.slo.%' ORDER BY id"
        async with app.state.read_sessions() as session:
            rows = await session.execute(text(query), {"id": id})
            return [(row.subject.split(".")[2], json.loads(row.data)) for row in rows]

    await imported(alice, f"{SLI}---\n{CHECKOUT}")
    (requirement,) = await listed(alice)
    id = requirement["id"]
    assert await told(id) == []
    await activated(alice, rita, id)
    assert [(verb, data["slo"]["name"]) for verb, data in await told(id)] == [("defined", "checkout")]
    await imported(alice, CHECKOUT.replace("0.999", "0.9"))
    assert len(await told(id)) == 1
    active = await activated(alice, rita, id)
    verb, data = (await told(id))[-1]
    assert (verb, data["requirement_revision"]) == ("changed", active["revision"])
    assert (data["previous"]["objectives"][0]["target"], data["slo"]["objectives"][0]["target"]) == (0.999, 0.9)
    for to in ("deprecated", "retired"):
        etag = (await alice.get(f"{PATH}/{id}")).headers["etag"]
        moved = await alice.post(f"{PATH}/{id}/transitions", json={"to": to}, headers={"If-Match": etag})
        assert moved.status_code == 200
    assert [verb for verb, _ in await told(id)] == ["defined", "changed", "removed"]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the examples of the specification are not in {DATA}")
@pytest.mark.parametrize("folder", ["sdk-v1", "spec"])
async def test_the_examples_of_the_specification_come_in_and_out(alice: httpx.AsyncClient, folder: str) -> None:
    for file in sorted((DATA / folder).glob("*.yaml")):
        await imported(alice, file.read_text())
        again = await imported(alice, file.read_text())
        assert (again["created"], again["updated"]) == (0, 0), file
    whole = await imported(alice, (await alice.get(EXPORT)).text)
    assert (whole["created"], whole["updated"]) == (0, 0)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(DOCUMENTS)
async def test_what_comes_out_goes_in_unchanged(alice: httpx.AsyncClient, documents: list[dict[str, Any]]) -> None:
    checked = checking.check({"": json.dumps(documents)})
    for each in checked.objects:
        if isinstance(each.object, SLO):
            try:
                slos.slo_of(each.object)
            except NotForPlumbline:
                return
    done = await alice.post(IMPORT, json=documents)
    if done.status_code == 422:  # an SLI of an example before does not fit an SLO of this one
        assert "thresholdMetric" in done.text
        return
    assert done.status_code == 200, done.text
    out = (await alice.get(EXPORT)).text
    again = await imported(alice, out)
    assert (again["created"], again["updated"]) == (0, 0), again
    assert (await alice.get(EXPORT)).text == out
