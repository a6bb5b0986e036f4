import asyncio
import gzip
import json
import time
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from sqlalchemy import text

from plumbline_analysis.lines import service
from plumbline_analysis.moments import moment
from plumbline_common import db
from plumbline_common.schemas import utc

OTLP, LINES = "/v1/logs", "/api/v1/telemetry/logs"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
GZIP = {"Content-Encoding": "gzip"}


def nanos(seconds_ago: float = 1.0) -> int:
    return time.time_ns() - int(seconds_ago * 1e9)


def request(*bodies: str, at: int | None = None, of: str = "shop") -> bytes:
    whole = ExportLogsServiceRequest()
    resource = whole.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = of
    records = resource.scope_logs.add().log_records
    for body in bodies:
        record = records.add(time_unix_nano=nanos() if at is None else at, severity_number=9, trace_id=b"\x01" * 16)
        record.body.string_value = body
        record.attributes.add(key="http.route").value.string_value = "/basket"
    return whole.SerializeToString()


async def stored(sessions: db.Sessions) -> list[Any]:
    async with sessions() as session:
        rows = await session.execute(
            text("SELECT service, l.* FROM log_lines l JOIN log_streams ON number = stream ORDER BY 1, position")
        )
        return list(rows.all())


async def test_what_is_acknowledged_is_stored(collector: httpx.AsyncClient, sessions: db.Sessions) -> None:
    at = nanos()
    reply = await collector.post(OTLP, content=request("cart 7 paid", "cart 8 paid", at=at), headers=PROTOBUF)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-protobuf")
    assert not ExportLogsServiceResponse.FromString(reply.content).HasField("partial_success")
    first, second = await stored(sessions)
    assert (first.service, first.body, first.severity, first.position) == ("shop", "cart 7 paid", 9, 1)
    assert first.ts == moment(at // 1000)
    assert first.attributes == {"http.route": "/basket", "trace_id": "01" * 16}
    assert (second.body, second.position) == ("cart 8 paid", 2)


async def test_a_retry_of_a_stored_export_changes_nothing(
    collector: httpx.AsyncClient, sessions: db.Sessions
) -> None:
    body = request("cart 7 paid")
    for headers, content in ((PROTOBUF, body), (PROTOBUF, body), (PROTOBUF | GZIP, gzip.compress(body))):
        assert (await collector.post(OTLP, content=content, headers=headers)).status_code == 200
    assert len(await stored(sessions)) == 1
    assert (await collector.post(OTLP, content=request("cart 7 paid"), headers=PROTOBUF)).status_code == 200
    assert len(await stored(sessions)) == 2


async def test_equal_exports_without_times_are_two(collector: httpx.AsyncClient, sessions: db.Sessions) -> None:
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "door opened"}}]}]}]}
    for _ in range(2):
        assert (await collector.post(OTLP, json=body)).json() == {}
    assert len(await stored(sessions)) == 2


async def test_exports_at_once_get_positions_without_gaps(
    collector: httpx.AsyncClient, sessions: db.Sessions
) -> None:
    bodies = [request(f"line {turn}", f"other {turn}", of=of) for turn in range(10) for of in ("a", "b")]
    # Each twice: of two alike that come at once, one waits for the other and is its retry.
    replies = await asyncio.gather(
        *(collector.post(OTLP, content=body, headers=PROTOBUF) for body in [*bodies, *bodies])
    )
    assert {reply.status_code for reply in replies} == {200}
    rows = await stored(sessions)
    assert [row.position for row in rows] == [*range(1, 21), *range(1, 21)]
    assert len({row.body for row in rows}) == 20


async def test_records_are_left_out_one_by_one_with_the_reason(
    collector: httpx.AsyncClient, sessions: db.Sessions
) -> None:
    whole = ExportLogsServiceRequest.FromString(request("fine"))
    records = whole.resource_logs[0].scope_logs[0].log_records
    for at in (nanos(50 * 3600), nanos(-700)):
        records.add(time_unix_nano=at).body.string_value = "out of time"
    records.add(time_unix_nano=nanos())
    reply = await collector.post(OTLP, content=whole.SerializeToString(), headers=PROTOBUF)
    partial = ExportLogsServiceResponse.FromString(reply.content).partial_success
    assert (reply.status_code, partial.rejected_log_records) == (200, 3)
    for reason in ("48 h in the past", "10 min in the future", "neither a body nor an event name"):
        assert reason in partial.error_message
    assert [row.body for row in await stored(sessions)] == ["fine"]


async def test_json_is_answered_in_json(collector: httpx.AsyncClient, sessions: db.Sessions) -> None:
    record = {"timeUnixNano": str(nanos()), "body": {"stringValue": "door opened"}}
    records = {"scopeLogs": [{"logRecords": [record, record | {"timeUnixNano": "1"}]}]}
    reply = await collector.post(OTLP, json={"resourceLogs": [records]})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json()["partialSuccess"]["rejectedLogRecords"] == "1"
    assert (await collector.post(OTLP, json={})).json() == {}
    assert [(row.service, row.body) for row in await stored(sessions)] == [("unknown_service", "door opened")]


FINE = request("fine")


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (FINE[:-4], PROTOBUF, 400),
        (b"\xff" * 50, PROTOBUF, 400),
        (FINE.replace(b"/basket", b"/\xff\xfeaske"), PROTOBUF, 400),
        (gzip.compress(FINE)[:-9], PROTOBUF | GZIP, 400),
        (FINE, PROTOBUF | GZIP, 400),
        (b'{"resourceLogs": 1}', JSON, 400),
        (b"{", JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (FINE, {"Content-Type": "text/plain"}, 415),
        (FINE, {}, 415),
        (FINE, PROTOBUF | {"Content-Encoding": "br"}, 415),
        (gzip.compress(bytes(2_000_000)), PROTOBUF | GZIP, 413),
        (bytes(300_000), PROTOBUF, 413),
    ],
)
async def test_what_cannot_be_read_is_refused_whole(
    collector: httpx.AsyncClient, sessions: db.Sessions, content: bytes, headers: dict[str, str], status: int
) -> None:
    reply = await collector.post(OTLP, content=content, headers=headers)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    assert reply.json()["detail"]
    assert await stored(sessions) == []


async def test_what_is_no_utf_8_is_stored_as_it_is_shown(collector: httpx.AsyncClient, sessions: db.Sessions) -> None:
    body = FINE.replace(b"fine", b"f\x00\xffe")
    assert (await collector.post(OTLP, content=body, headers=PROTOBUF)).status_code == 200
    assert [row.body for row in await stored(sessions)] == ["f \ufffde"]


async def test_json_lines_are_stored_and_each_refused_one_is_named(
    collector: httpx.AsyncClient, sessions: db.Sessions
) -> None:
    lines = [
        {
            "time": utc(moment(nanos() // 1000)),
            "level": "WARN",
            "service": "shop",
            "message": "cart 7",
            "user": "ann",
        },
        "no object",
        {"timestamp": nanos() // 10**6, "body": {"a": [1]}, "service.name": "mail"},
        {"level": "info"},
        {"msg": "no zone", "time": "2026-01-01T00:00:00"},
        {"msg": "long ago", "time": "2020-01-01T00:00:00Z"},
    ]
    content = b"\n\n".join(json.dumps(line).encode() for line in lines) + b"\n{\n"
    reply = await collector.post(LINES, content=gzip.compress(content), headers=NDJSON | GZIP)
    assert (reply.status_code, reply.json()["accepted"]) == (200, 2)
    assert [(each["line"], each["detail"]) for each in reply.json()["rejected"][:-1]] == [
        (3, "not a JSON object"),
        (7, "none of body, message, msg is given"),
        (9, "the time is not RFC 3339 with a zone"),
        (11, "the time is more than 48 h in the past"),
    ]
    assert reply.json()["rejected"][-1]["line"] == 12
    mail, shop = await stored(sessions)
    assert (mail.service, mail.body, mail.severity) == ("mail", '{"a":[1]}', 0)
    assert (shop.service, shop.body, shop.severity, shop.attributes) == ("shop", "cart 7", 13, {"user": "ann"})


async def test_json_lines_with_a_key_are_stored_once(collector: httpx.AsyncClient, sessions: db.Sessions) -> None:
    content = b'{"msg": "door opened"}'
    for headers in (NDJSON, NDJSON, NDJSON | {"Idempotency-Key": "a"}, NDJSON | {"Idempotency-Key": "a"}):
        reply = await collector.post(LINES, content=content, headers=headers)
        assert reply.json() == {"accepted": 1, "rejected": []}
    assert len(await stored(sessions)) == 3


async def test_lines_of_more_services_than_can_be_watched_are_refused(
    collector: httpx.AsyncClient, sessions: db.Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_STREAMS", 2)
    content = b"\n".join(b'{"msg": "a", "service": "s%d"}' % number for number in (3, 1, 2))
    reply = await collector.post(LINES, content=content, headers=NDJSON)
    assert [(each["line"], each["detail"]) for each in reply.json()["rejected"]] == [
        (1, "there are logs of 1000 services already")
    ]
    reply = await collector.post(OTLP, content=request("a", of="s3"), headers=PROTOBUF)
    assert ExportLogsServiceResponse.FromString(reply.content).partial_success.rejected_log_records == 1
    assert [row.service for row in await stored(sessions)] == ["s1", "s2"]


async def test_any_number_of_services_is_answered(
    collector: httpx.AsyncClient, sessions: db.Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_STREAMS", 1)
    content = b"\n".join(b'{"msg":1,"service":"%d"}' % number for number in range(35_000))
    reply = await collector.post(LINES, content=gzip.compress(content), headers=NDJSON | GZIP)
    assert (reply.status_code, reply.json()["accepted"], len(reply.json()["rejected"])) == (200, 1, 34_999)
    assert len(await stored(sessions)) == 1


@pytest.mark.parametrize("role", ["viewer", "editor", "reviewer"])
async def test_only_collectors_may_send(caller: Any, role: str) -> None:
    assert (await caller(role).post(OTLP, content=FINE, headers=PROTOBUF)).status_code == 403
    assert (await caller(role).post(LINES, content=b"", headers=NDJSON)).status_code == 403


async def test_days_without_tables_are_tried_again_later(
    app: FastAPI, collector: httpx.AsyncClient, sessions: db.Sessions
) -> None:
    wide = app.state.settings.model_copy(update={"past_limit_hours": 24 * 20.0, "log_retention_days": 20})
    original, app.state.settings = app.state.settings, wide
    try:
        reply = await collector.post(OTLP, content=request("old", at=nanos(15 * 86_400)), headers=PROTOBUF)
    finally:
        app.state.settings = original
    assert (reply.status_code, await stored(sessions)) == (503, [])
