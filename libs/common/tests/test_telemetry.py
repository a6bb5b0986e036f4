import json
import logging
import time
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from plumbline_common import telemetry


@pytest.mark.parametrize(
    ("statement", "summary"),
    [
        ("SELECT a, b FROM requirements WHERE id = $1", "SELECT requirements"),
        ("INSERT INTO inbox (a) SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM inbox_progress)", "INSERT inbox"),
        ("WITH staged AS (INSERT INTO outbox (id) VALUES ($1)) SELECT pg_notify('x', '')", "INSERT outbox"),
        ("UPDATE requirements SET title = $1", "UPDATE requirements"),
        ("DELETE FROM search_documents WHERE id = $1", "DELETE search_documents"),
        ("SELECT 1", "SELECT"),
        ("SET lock_timeout = '10s'", "SET"),
    ],
)
def test_statements_are_named_by_operation_and_table(statement: str, summary: str) -> None:
    assert telemetry._summary(statement) == summary


def line_of(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(telemetry.JsonLines("tests").format(record))
    return found


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("tests", logging.WARNING, __file__, 1, message, args, None)
    vars(made).update(extra)
    return made


def test_a_log_line_is_json_with_its_trace_and_extras() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    with tracer.start_as_current_span("request") as span:
        line = line_of(record("took %d ms", 7, route="/things"))
    assert line["message"] == "took 7 ms"
    assert line["level"] == "warning"
    assert line["route"] == "/things"
    assert line["trace_id"] == trace.format_trace_id(span.get_span_context().trace_id)
    assert line["time"].endswith("Z")


@pytest.mark.parametrize(
    "message",
    [
        "no connection to postgresql+asyncpg://search:hunter2-secret@127.0.0.1/plumbline",
        "sent Authorization: Bearer hunter2-secret.payload.signature",
    ],
)
def test_no_secret_reaches_a_log(message: str) -> None:
    assert "hunter2" not in line_of(record(message))["message"]
    masked = record(message)
    assert telemetry._no_secrets(masked)
    assert "hunter2" not in masked.getMessage()


def test_an_exporter_that_repeats_itself_is_heard_once_a_minute() -> None:
    quiet = telemetry.OncePerMinute()
    first, second, later = (record("the collector is away") for _ in range(3))
    later.created = first.created + 61
    assert [quiet.filter(each) for each in (first, second, later)] == [True, False, True]


def test_nothing_is_exported_without_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    assert not telemetry.exports("traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    assert telemetry.exports("traces")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not telemetry.exports("traces")


def test_context_goes_through_headers_and_back() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    with tracer.start_as_current_span("here") as span:
        carried = telemetry.inject()
    there = trace.get_current_span(telemetry.extract(carried)).get_span_context()
    assert there.trace_id == span.get_span_context().trace_id
    assert telemetry.inject() == {}


def test_a_collector_that_is_away_holds_up_nobody() -> None:
    """Port 9 refuses: spans end at once all the same, though the export fails in its thread."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter("http://127.0.0.1:9/v1/traces", timeout=1)))
    tracer = provider.get_tracer("tests")
    began = time.perf_counter()
    for _ in range(5000):
        tracer.start_span("work").end()
    assert time.perf_counter() - began < 5


def test_a_callers_baggage_goes_no_further() -> None:
    carrier = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "baggage": "secret=1"}
    assert telemetry.inject(telemetry.extract(carrier)) == {"traceparent": carrier["traceparent"]}


def test_a_log_call_that_is_wrong_raises_nothing() -> None:
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "%d of them", ("many",), None)
    assert telemetry._no_secrets(record)
    assert "many" in record.getMessage()
