import json
import logging
import warnings
from typing import Any

import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from plumbline_analysis.logs import masking
from plumbline_analysis.sources import lines, otlp_logs, otlp_logs_json
from plumbline_analysis.sources.batch import Undecodable, Window
from plumbline_analysis.sources.lines import Line, Lines
from plumbline_common.errors import TooLarge

NOW = 1_800_000_000 * 10**6
WINDOW = Window.around(NOW / 1e6, 48, 10)


def request(**record: Any) -> ExportLogsServiceRequest:
    """One record; `body` may be a string."""
    whole = ExportLogsServiceRequest()
    of_resource = whole.resource_logs.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    body = record.pop("body", "door opened")
    added = of_resource.scope_logs.add().log_records.add(**({"time_unix_nano": NOW * 1000} | record))
    if body is not None:
        added.body.string_value = body
    return whole


def decode(whole: ExportLogsServiceRequest) -> Lines:
    """What both encodings say."""
    found = otlp_logs.decode(whole.SerializeToString(), WINDOW, NOW)
    document = json_format.MessageToDict(whole, use_integers_for_enums=True)
    for of_resource in document["resourceLogs"]:
        for record in of_resource["scopeLogs"][0].get("logRecords", []):
            # OTLP writes ids in hexadecimal.
            record |= {key: "07" * size for key, size in (("traceId", 16), ("spanId", 8)) if key in record}
    assert otlp_logs_json.decode(json.dumps(document).encode(), WINDOW, NOW) == found
    return found


def one(**record: Any) -> Line:
    (line,) = decode(request(**record)).accepted
    return line


def test_what_the_sdk_exports_is_decoded() -> None:
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(Resource.create({"service.name": "shop"}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        handler = LoggingHandler(logging.INFO, provider)
    record = logging.makeLogRecord({"msg": "cart %d paid", "args": (7,), "levelno": logging.WARNING, "tries": 2})
    handler.emit(record)
    exported = encode_logs(exporter.get_finished_logs()).SerializeToString()
    provider.shutdown()
    window = Window.around(record.created, 48, 10)
    (line,) = otlp_logs.decode(exported, window, NOW).accepted
    assert (line.service, line.body, line.severity) == ("shop", b"cart 7 paid", 13)
    assert abs(line.time - record.created * 1e6) < 1e6
    assert orjson.loads(line.attributes)["tries"] == "2"


def test_the_time_is_the_records_or_when_it_was_observed_or_now() -> None:
    assert one(time_unix_nano=NOW * 1000 + 999).time == NOW
    assert one(time_unix_nano=0, observed_time_unix_nano=NOW * 1000 + 1000).time == NOW + 1
    untimed = decode(request(time_unix_nano=0))
    assert (untimed.accepted[0].time, untimed.is_timed) == (NOW, False)
    assert decode(request()).is_timed


def test_ids_of_the_trace_are_attributes() -> None:
    line = one(trace_id=b"\x07" * 16, span_id=b"\x07" * 8)
    assert orjson.loads(line.attributes) == {"trace_id": "07" * 16, "span_id": "07" * 8}


def test_bodies_of_any_kind_are_text() -> None:
    whole = request(body=None)
    record = whole.resource_logs[0].scope_logs[0].log_records[0]
    record.body.kvlist_value.values.add(key="at").value.int_value = 7
    assert decode(whole).accepted[0].body == b'{"at":7}'
    record.body.bool_value = True
    assert decode(whole).accepted[0].body == b"true"
    record.body.string_value = ""
    assert decode(whole).accepted[0].body == b""
    record.ClearField("body")
    record.event_name = "device.opened"
    assert decode(whole).accepted[0].body == b"device.opened"
    record.event_name = ""
    assert decode(whole).reasons == {"the record has neither a body nor an event name": 1}


@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, 16_383, 16_384, 10_000_000])
def test_bodies_of_any_length_are_kept_as_far_as_they_are_mined(length: int) -> None:
    whole = request(body="x" * length)
    (line,) = otlp_logs.decode(whole.SerializeToString(), WINDOW, NOW).accepted
    assert line.body == b"x" * min(length, lines.MAX_BODY)
    assert lines.MAX_BODY == masking.LONGEST


def test_what_postgresql_cannot_store_is_shown_otherwise() -> None:
    encoded = request(body="a\x00bcd").SerializeToString().replace(b"cd", b"\xff\xfe")
    (line,) = otlp_logs.decode(encoded, WINDOW, NOW).accepted
    assert line.body.decode() == "a b\ufffd\ufffd"


def test_long_and_many_attributes_are_cut_off() -> None:
    whole = request()
    record = whole.resource_logs[0].scope_logs[0].log_records[0]
    for number in range(100):
        record.attributes.add(key=f"{number:03}" + "k" * 300).value.string_value = "v\x00" * 2000
    kept = orjson.loads(decode(whole).accepted[0].attributes)
    assert len(kept) == 64
    assert {len(key) for key in kept} == {255}
    assert {len(value) for value in kept.values()} == {1024}


def test_severities_are_those_that_opentelemetry_knows() -> None:
    assert [one(severity_number=number).severity for number in (0, 1, 24)] == [0, 1, 24]
    whole = request()
    whole.resource_logs[0].scope_logs[0].log_records[0].severity_number = 2_000_000  # type: ignore[assignment]
    assert otlp_logs.decode(whole.SerializeToString(), WINDOW, NOW).accepted[0].severity == 0


def test_services_without_a_name_and_with_an_impossible_one() -> None:
    whole = request()
    name = whole.resource_logs[0].resource.attributes[0].value
    for called, service in (("", lines.UNKNOWN_SERVICE), ("ä" * 255, "ä" * 255)):
        name.string_value = called
        assert decode(whole).accepted[0].service == service
    for called in ("a" * 256, "a\x00"):
        name.string_value = called
        assert (decode(whole).accepted, decode(whole).rejected) == ([], 1)


def test_a_request_of_too_many_records_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINES", 1)
    whole = request()
    decode(whole)
    whole.resource_logs.add().CopyFrom(whole.resource_logs[0])
    for read, body in (
        (otlp_logs.decode, whole.SerializeToString()),
        (otlp_logs_json.decode, json_format.MessageToJson(whole).encode()),
    ):
        with pytest.raises(TooLarge, match="more than 1 log records"):
            read(body, WINDOW, NOW)


@given(st.binary(max_size=400))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    for read in (otlp_logs.decode, otlp_logs_json.decode):
        try:
            found = read(body, WINDOW, NOW)
        except Undecodable:
            continue
        for line in found.accepted:
            line.body.decode()


ENCODED = request(trace_id=b"\x07" * 16, severity_number=9).SerializeToString()


@given(st.integers(0, len(ENCODED) - 1), st.binary(max_size=4))
def test_a_damaged_export_is_decoded_or_refused(place: int, damage: bytes) -> None:
    try:
        found = otlp_logs.decode(ENCODED[:place] + damage + ENCODED[place + len(damage) :], WINDOW, NOW)
    except Undecodable:
        return
    for line in found.accepted:
        assert "\x00" not in line.body.decode()
        assert isinstance(orjson.loads(line.attributes), dict)


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"resourceLogs": 1}, "/resourceLogs"),
        ({"resourceLogs": [{"scopeLogs": [{"logRecords": [3]}]}]}, "/resourceLogs/0/scopeLogs/0/logRecords/0"),
        (
            {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "x"}]}]}]},
            "/resourceLogs/0/scopeLogs/0/logRecords/0/timeUnixNano",
        ),
        (
            {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": 1}}]}]}]},
            "/resourceLogs/0/scopeLogs/0/logRecords/0/body/stringValue",
        ),
    ],
)
def test_json_of_a_wrong_type_is_refused_with_its_place(document: Any, pointer: str) -> None:
    with pytest.raises(Undecodable) as refused:
        otlp_logs_json.decode(json.dumps(document).encode(), WINDOW, NOW)
    assert refused.value.pointer == pointer


def test_a_response_tells_of_what_was_left_out_only() -> None:
    assert otlp_logs.response(0, "") == b""
    partial = ExportLogsServiceResponse.FromString(otlp_logs.response(2, "why")).partial_success
    assert (partial.rejected_log_records, partial.error_message) == (2, "why")
