"""Logs through the gateway: lines, their template, an anomaly, its incident, and the search that finds them."""

import asyncio
import json
import time
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from typer.testing import CliRunner

from plumbline_cli.main import app

PROTOBUF = {"Content-Type": "application/x-protobuf"}
SERVICE = "e2e-harbour"


def export(lines: list[tuple[float, str]]) -> bytes:
    """Lines with their times, in seconds since the epoch."""
    whole = ExportLogsServiceRequest()
    of_resource = whole.resource_logs.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = SERVICE
    records = of_resource.scope_logs.add().log_records
    for at, line in lines:
        records.add(time_unix_nano=int(at * 1e9), severity_number=9).body.string_value = line
    return whole.SerializeToString()


def call() -> bytes:
    """A span of a call to another service."""
    whole = ExportTraceServiceRequest()
    of_resource = whole.resource_spans.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = SERVICE
    span = of_resource.scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, kind=3)
    span.attributes.add(key="peer.service").value.string_value = "e2e-tide"
    return whole.SerializeToString()


@pytest.mark.long
async def test_lines_become_templates_and_what_is_new_is_an_anomaly(
    caller: Any, stack: Any, stranger: Any, until: Any
) -> None:
    collector, viewer = caller("ingest"), caller("viewer")
    asked = {"service": SERVICE}

    async def sent(lines: list[tuple[float, str]]) -> None:
        reply = await collector.post("/v1/logs", content=export(lines), headers=PROTOBUF)
        assert (reply.status_code, reply.content) == (200, b"")

    async def templates() -> list[str]:
        page = (await viewer.get("/api/v1/log-templates", params=asked)).json()
        return [each["template"] for each in page["items"]]

    async def new() -> Any:
        found = (await viewer.get("/api/v1/anomalies", params=asked)).json()["items"]
        return next((each for each in found if each["log"]["kind"] == "new"), None)

    async def called() -> Any:
        graph = await viewer.get("/api/v1/services/graph", params=asked)
        return graph if graph.json()["edges"] else None

    traced = await collector.post("/v1/traces", content=call(), headers=PROTOBUF)
    assert (traced.status_code, traced.content) == (200, b"")
    now = time.time()
    history = [(now - seconds, f"crane {seconds} lifted {n} t") for seconds in range(10, 100) for n in range(5)]
    await sent(history)
    await until(templates, 30, f"templates of {SERVICE}")
    assert await templates() == ["crane <*> lifted <*> t"]
    await sent([(time.time(), f"quokka {number} fell into the basin") for number in range(5)])
    anomaly = await until(new, 30, f"an anomaly of {SERVICE}")
    assert anomaly["title"].startswith("“quokka <*> fell into the basin” came 5 times; no line like it came in the ")
    assert anomaly["log"]["examples"] == [f"quokka {number} fell into the basin" for number in range(3)]
    assert anomaly["value"] == 5

    body: dict[str, Any] = {"query": "quokka basin", "kinds": ["log_template"], "service": SERVICE}

    async def hit() -> Any:
        return (await viewer.post("/api/v1/search", json=body)).json()["items"]

    found = (await until(hit, 30, "the template in the search"))[0]
    assert (found["entity_id"], found["title"]) == (anomaly["log"]["template_id"], anomaly["log"]["template"])
    told = await viewer.get(f"/api/v1/log-templates/{found['entity_id']}")
    assert (told.json()["count"], told.json()["service"]) == (5, SERVICE)

    async def heard() -> Any:
        return stranger.told("analysis.log_template.discovered.v1", found["entity_id"])

    (event,) = await until(heard, 10, "an event of the template")
    assert event.body["log_template"]["template"] == "quokka <*> fell into the basin"
    assert stranger.misfits() == []

    async def grouped() -> Any:
        return (await viewer.get("/api/v1/incidents", params={"anomaly_id": anomaly["id"]})).json()["items"]

    incident = (await until(grouped, 30, "the incident of the anomaly"))[0]
    assert (incident["state"], incident["services"]) == ("open", [SERVICE])
    place = f"/api/v1/incidents/{incident['id']}"
    said = await caller("operator").post(f"{place}/comments", json={"text": "A zookeeper was called"})
    assert said.status_code == 201
    body = {"query": '"zookeeper was called"', "kinds": ["incident"], "service": SERVICE}
    found = (await until(hit, 30, "the incident in the search"))[0]
    assert found["entity_id"] == incident["id"]
    kinds = [entry["kind"] for entry in (await viewer.get(f"{place}/timeline")).json()["items"]]
    # The anomaly may be over by now.
    assert [kind for kind in kinds if kind != "anomaly_ended"] == ["anomaly_began", "opened", "commented"]
    assert stranger.told("analysis.incident.opened.v1", incident["id"])
    graph = (await until(called, 30, "the call in the service graph")).json()
    assert [(each["caller"], each["callee"]) for each in graph["edges"]] == [(SERVICE, "e2e-tide")]
    assert stranger.misfits() == []

    environment = {"PLUMBLINE_FOLDER": str(stack.folder), "COLUMNS": "200"}
    listed = await asyncio.to_thread(
        CliRunner().invoke, app, ["logs", "templates", "quokka", "--service", SERVICE], env=environment
    )
    assert "quokka <*> fell into the basin" in listed.stdout


async def test_json_lines_are_taken_with_what_is_wrong_with_the_others(caller: Any, until: Any) -> None:
    content = b'{"msg": "tide 7 rises", "service": "e2e-tide", "level": "warn"}\n{"level": "info"}\n'
    reply = await caller("operator").post(
        "/api/v1/telemetry/logs", content=content, headers={"Content-Type": "application/x-ndjson"}
    )
    assert (reply.status_code, json.loads(reply.content)) == (
        200,
        {"accepted": 1, "rejected": [{"line": 2, "detail": "none of body, message, msg is given"}]},
    )

    async def mined() -> Any:
        return (await caller("viewer").get("/api/v1/log-templates", params={"q": "tide"})).json()["items"]

    assert (await until(mined, 30, "the template of the line"))[0]["template"] == "tide <*> rises"


@pytest.mark.parametrize("name", ["requirements", "search", "analysis"])
async def test_the_services_own_logs_are_mined(caller: Any, until: Any, name: str) -> None:
    async def mined() -> Any:
        asked = {"service": f"plumbline-{name}"}
        return (await caller("viewer").get("/api/v1/log-templates", params=asked)).json()["total"]

    await until(mined, 30, f"templates of plumbline-{name}")
