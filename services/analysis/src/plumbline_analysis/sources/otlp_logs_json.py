"""OTLP/HTTP logs, JSON encoding. Raises as `otlp_logs.decode` does, with a JSON pointer."""

from typing import Any

import orjson

from plumbline_analysis.sources import lines, otlp, otlp_logs
from plumbline_analysis.sources.batch import Undecodable, Window
from plumbline_analysis.sources.json_members import any_value, integer, member, objects, pairs
from plumbline_analysis.sources.lines import Lines
from plumbline_common.errors import TooLarge


def decode(body: bytes, window: Window, now: int) -> Lines:
    """The records of an ExportLogsServiceRequest. `now`, in microseconds, is the time of records without one."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Undecodable("the body must be a JSON object", pointer="")
    found, left = Lines(), lines.MAX_LINES
    for at, of_resource in objects(document, "resourceLogs", ""):
        resource_at, resource = member(of_resource, "resource", at, dict)
        service = otlp_logs.service_name(pairs(resource, "attributes", resource_at))
        fault = lines.service_fault(service)
        for at_scope, of_scope in objects(of_resource, "scopeLogs", at):
            records = objects(of_scope, "logRecords", at_scope)
            left -= len(records)
            if left < 0:
                raise TooLarge(f"the request holds more than {lines.MAX_LINES} log records: send smaller batches")
            if fault is not None:
                found.reject(len(records), fault)
                continue
            for record_at, record in records:
                _record(found, window, now, service, record, record_at)
    return found


def _record(found: Lines, window: Window, now: int, service: str, record: dict[str, Any], at: str) -> None:
    nanos = integer(record, "timeUnixNano", at, 0, 2**64 - 1) or integer(
        record, "observedTimeUnixNano", at, 0, 2**64 - 1
    )
    body_at, body = member(record, "body", at, dict)
    said = otlp.text(any_value(body, body_at, 0)) if body else member(record, "eventName", at, str)[1] or None
    ids = [(key, member(record, name, at, str)[1]) for name, key in (("traceId", "trace_id"), ("spanId", "span_id"))]
    attributes = [*((key, id) for key, id in ids if id), *pairs(record, "attributes", at)]
    otlp_logs.add(
        found,
        window,
        service,
        otlp_logs.time_of(found, nanos, now),
        integer(record, "severityNumber", at, 0, 2**31 - 1),
        None if said is None else said.encode(),
        [lines.attribute(key, value) for key, value in attributes],
    )
