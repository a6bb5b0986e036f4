"""Bad input through the gateway: a clear problem, never a server error, nothing half-written."""

import gzip
import json
import time
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

PATH, SEARCH, OTLP, PUSH = "/api/v1/requirements", "/api/v1/search", "/v1/metrics", "/api/v1/telemetry/points"
LOGS, LINES = "/v1/logs", "/api/v1/telemetry/logs"
JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
GZIP = PROTOBUF | {"Content-Encoding": "gzip"}
NOW = time.time_ns()
DAY = 86_400 * 10**9
METRIC = "e2e.bad"


def otlp(value: Any = 1.0, at: Any = NOW, **more: Any) -> bytes:
    point = {"timeUnixNano": str(at), "asDouble": value} | more
    metric = {"name": METRIC, "unit": "1", "gauge": {"dataPoints": [point]}}
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}).encode()


def protobuf(value: float, at: int = NOW) -> bytes:
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name=METRIC)
    metric.gauge.data_points.add(time_unix_nano=at, as_double=value)
    return message.SerializeToString()


def logs(body: str) -> bytes:
    message = ExportLogsServiceRequest()
    record = message.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=NOW)
    record.body.string_value = body
    return message.SerializeToString()


def push(**changed: Any) -> bytes:
    return json.dumps({"points": [{"metric": METRIC, "time": "2026-01-01T00:00:00Z", "value": 1} | changed]}).encode()


def slo(target: float) -> bytes:
    """A requirement with one SLO; NaN and the infinite are written as Python writes them."""
    slo = {
        "name": "x",
        "indicator": {"thresholdMetric": {"metricSource": {"spec": {"metric": "m"}}}},
        "timeWindow": [{"duration": "1h"}],
        "budgetingMethod": "Occurrences",
        "objectives": [{"op": "lte", "value": 1, "target": target}],
    }
    return json.dumps({"title": "a", "slos": [slo]}).encode()


MALFORMED = {400, 422}
BODIES: list[tuple[str, str, bytes, dict[str, str], set[int]]] = [
    ("malformed JSON", PATH, b'{"title": ', JSON, {422}),
    ("no body", PATH, b"", JSON, {422}),
    ("no object", PATH, b'["title"]', JSON, {422}),
    ("wrong type", PATH, b'{"title": 1}', JSON, {422}),
    ("unknown field", PATH, b'{"title": "a", "colour": "red"}', JSON, {422}),
    ("field of the server's own", PATH, b'{"title": "a", "revision": 7}', JSON, {422}),
    ("no title", PATH, b'{"title": "  "}', JSON, {422}),
    ("title of 501 letters", PATH, b'{"title": "' + b"x" * 501 + b'"}', JSON, {422}),
    ("NUL byte", PATH, b'{"title": "a\\u0000b"}', JSON, {422}),
    ("broken UTF-8", PATH, b'{"title": "\xff\xfe"}', JSON, MALFORMED),
    ("lone surrogate", PATH, b'{"title": "\\ud800"}', JSON, {422}),
    ("NaN", PATH, slo(float("nan")), JSON, {422}),
    ("infinite", PATH, slo(float("inf")), JSON, {422}),
    ("target over 1", PATH, slo(1.5), JSON, {422}),
    ("number of 5000 digits", PATH, b'{"title": ' + b"1" * 5000 + b"}", JSON, MALFORMED),
    ("nested 100,000 deep", PATH, b"[" * 100_000, JSON, MALFORMED),
    ("text", PATH, b'{"title": "a"}', {"Content-Type": "text/plain"}, {415, 422}),
    (
        "gzip that nobody asked for",
        PATH,
        gzip.compress(b'{"title": "a"}'),
        JSON | {"Content-Encoding": "gzip"},
        {400, 415, 422},
    ),
    ("title of 10 MB", PATH, b'{"title": "' + b"x" * 10_000_000 + b'"}', JSON, {413}),
    ("body over the service's limit", PATH, b'{"title": "' + b"x" * 2_000_000 + b'"}', JSON, {413}),
    ("empty query", SEARCH, b'{"query": ""}', JSON, {422}),
    ("query with NUL", SEARCH, b'{"query": "a\\u0000"}', JSON, {422}),
    ("query of 10 MB", SEARCH, b'{"query": "' + b"x" * 10_000_000 + b'"}', JSON, {413}),
    ("truncated protobuf", OTLP, protobuf(1.0)[:-3], PROTOBUF, MALFORMED),
    ("random protobuf", OTLP, bytes(range(256)), PROTOBUF, MALFORMED),
    ("bad gzip", OTLP, b"not gzip", GZIP, MALFORMED),
    ("truncated gzip", OTLP, gzip.compress(protobuf(1.0))[:-9], GZIP, MALFORMED),
    ("gzip bomb", OTLP, gzip.compress(b"\0" * 60_000_000), GZIP, {413}),
    ("export of 10 MB", OTLP, b"\0" * 10_000_000, PROTOBUF, {413}),
    ("unknown encoding", OTLP, b"x", PROTOBUF | {"Content-Encoding": "br"}, {415}),
    ("unknown media type", OTLP, b"x", {"Content-Type": "text/plain"}, {415}),
    ("malformed OTLP/JSON", OTLP, b'{"resourceMetrics": 7}', JSON, MALFORMED),
    ("OTLP/JSON nested 100,000 deep", OTLP, b"[" * 100_000, JSON, MALFORMED),
    ("OTLP/JSON with a time before 1970", OTLP, otlp(at=-1), JSON, MALFORMED),
    ("OTLP/JSON with a time over 64 bits", OTLP, otlp(at=2**64), JSON, MALFORMED),
    ("OTLP/JSON with text for a number", OTLP, otlp("one"), JSON, MALFORMED),
    ("truncated logs", LOGS, logs("door opened")[:-3], PROTOBUF, MALFORMED),
    ("gzip bomb of logs", LOGS, gzip.compress(b"\0" * 60_000_000), GZIP, {413}),
    ("malformed OTLP/JSON logs", LOGS, b'{"resourceLogs": 7}', JSON, MALFORMED),
    ("logs of an unknown media type", LOGS, b"x", {"Content-Type": "text/plain"}, {415}),
    ("log lines of 10 MB", LINES, b'{"msg": "' + b"x" * 10_000_000 + b'"}', NDJSON, {413}),
    ("log lines as JSON", LINES, b'{"msg": "door opened"}', JSON, {415}),
    ("more log lines than are taken at once", LINES, b"{}\n" * 200_000, NDJSON, {413}),
    ("push without a time", PUSH, b'{"points": [{"metric": "e2e.bad", "value": 1}]}', JSON, {422}),
    ("push without a zone", PUSH, push(time="2026-01-01T00:00:00"), JSON, {422}),
    ("push at no time", PUSH, push(time=1e30), JSON, {422}),
    ("push of NaN", PUSH, push(value=float("nan")), JSON, {422}),
    ("push of infinity", PUSH, push(value=float("inf")), JSON, {422}),
    ("push with NUL", PUSH, push(metric="a\0b"), JSON, {422}),
    ("push of nothing", PUSH, b'{"points": []}', JSON, {422}),
]


def assert_problem(response: Any, statuses: set[int]) -> dict[str, Any]:
    assert response.status_code in statuses, (response.status_code, response.text[:300])
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    assert body["type"].startswith("urn:plumbline:problem:")
    assert body["title"]
    assert "Traceback" not in response.text
    return body


async def stored(client: Any) -> tuple[int, int]:
    """How many requirements there are, and how many series of the metric that bad telemetry names."""
    requirements = (await client.get(PATH)).json()["total"]
    return requirements, (await client.get("/api/v1/signals", params={"metric": METRIC})).json()["total"]


@pytest.mark.parametrize(
    ("path", "body", "headers", "statuses"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES]
)
async def test_a_bad_body_is_a_problem_and_writes_nothing(
    caller: Any, path: str, body: bytes, headers: dict[str, str], statuses: set[int]
) -> None:
    client = caller("editor", "ingest", "operator")
    before = await stored(client)
    assert_problem(await client.post(path, content=body, headers=headers), statuses)
    assert await stored(client) == before


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"title": 1}', "/title"),
        (b'{"title": "a", "a/b": 1}', "/a~1b"),
        (slo(2), "/slos/0/objectives/0/target"),
        (slo(0.9).replace(b'"metric":', b'"metrics":'), "/slos/0/indicator/thresholdMetric/metricSource/spec/metric"),
    ],
)
async def test_a_problem_points_at_the_member_at_fault(caller: Any, body: bytes, pointer: str) -> None:
    problem = assert_problem(await caller("editor").post(PATH, content=body, headers=JSON), {422})
    assert problem["errors"][0]["pointer"] == pointer
    assert len(problem["trace_id"]) == 32


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (otlp("NaN"), JSON),
        (otlp("Infinity"), JSON),
        (otlp(at=0), JSON),
        (otlp(at=NOW - 10 * DAY), JSON),
        (otlp(at=NOW + DAY), JSON),
        (otlp(at=2**64 - 1), JSON),
        (otlp(attributes=[{"key": "a\0", "value": {"stringValue": "b"}}]), JSON),
        (protobuf(float("nan")), PROTOBUF),
        (protobuf(float("-inf")), PROTOBUF),
        (protobuf(1.0, NOW - 10 * DAY), PROTOBUF),
        (gzip.compress(protobuf(1.0, NOW + DAY)), GZIP),
    ],
    ids=[
        *("NaN", "infinite", "no time", "past", "future", "farthest future", "NUL"),
        *("NaN in protobuf", "infinite in protobuf", "past in protobuf", "future in gzip"),
    ],
)
async def test_points_that_cannot_be_kept_are_counted_and_explained(
    caller: Any, body: bytes, headers: dict[str, str]
) -> None:
    client = caller("ingest", "viewer")
    before = await stored(client)
    response = await client.post(OTLP, content=body, headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == headers["Content-Type"]
    if headers is JSON:
        partial = response.json()["partialSuccess"]
        rejected, message = int(partial["rejectedDataPoints"]), partial["errorMessage"]
    else:
        answer = ExportMetricsServiceResponse.FromString(response.content).partial_success
        rejected, message = answer.rejected_data_points, answer.error_message
    assert rejected == 1
    assert message
    assert await stored(client) == before


@pytest.mark.parametrize(
    "at", ["0001-01-01T00:00:00+14:00", "1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"]
)
async def test_a_pushed_point_out_of_time_is_named_with_the_reason(caller: Any, at: str) -> None:
    client = caller("operator")
    before = await stored(client)
    answer = (await client.post(PUSH, content=push(time=at), headers=JSON)).json()
    assert (answer["accepted"], [each["index"] for each in answer["rejected"]]) == (0, [0])
    assert await stored(client) == before


@pytest.mark.parametrize(
    ("change", "match", "statuses"),
    [
        ({"title": "b"}, None, {428}),
        ({"title": "b"}, '"9"', {412}),
        ({"title": "b"}, 'W/"x", ,,"', {412}),
        ({"title": None}, '"1"', {422}),
        ({"colour": "red"}, '"1"', {422}),
        (["title"], '"1"', {422}),
        ({"status": "retired"}, '"1"', {409}),
        ({"status": "flying"}, '"1"', {422}),
    ],
)
async def test_a_bad_change_leaves_the_requirement_as_it_was(
    caller: Any, change: Any, match: str | None, statuses: set[int]
) -> None:
    client = caller("editor")
    one = (await client.post(PATH, json={"title": "Stays as it is"})).headers["location"]
    before = (await client.get(one)).json()
    headers = {"If-Match": match} if match else {}
    assert_problem(await client.patch(one, json=change, headers=headers), statuses)
    assert (await client.get(one)).json() == before
