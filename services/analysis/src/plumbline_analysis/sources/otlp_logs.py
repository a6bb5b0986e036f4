"""OTLP/HTTP logs, protobuf encoding: a request's body becomes `Lines`. Pure and CPU-bound.

The specification: https://opentelemetry.io/docs/specs/otlp/ and https://opentelemetry.io/docs/specs/otel/logs/data-model/.
"""

from binascii import hexlify
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from plumbline_analysis.sources import batch, lines, otlp, otlp_wire
from plumbline_analysis.sources.batch import Undecodable, Window
from plumbline_analysis.sources.lines import Line, Lines
from plumbline_common.errors import TooLarge

_STRING_TAG = 1 * 8 + 2
"""AnyValue.string_value: field 1, of a length."""
_SHORT = 256


def decode(body: bytes, window: Window, now: int) -> Lines:
    """The records of an ExportLogsServiceRequest. `now`, in microseconds, is the time of records without one.

    Raises `Undecodable` where the body is not one (nothing of it is taken then) and `TooLarge` where it holds too
    much. Single records that can't be stored are counted with the reason.
    """
    try:
        return _decode(otlp_wire.LogsRequest.FromString(body), window, now)
    except DecodeError as error:
        raise Undecodable(f"the body is not an OTLP logs request: {error}") from None


def _decode(request: Any, window: Window, now: int) -> Lines:
    found, left = Lines(), lines.MAX_LINES
    for of_resource in request.resource_logs:
        service = service_name(otlp.pairs(Resource.FromString(of_resource.resource).attributes))
        fault = lines.service_fault(service)
        for of_scope in of_resource.scope_logs:
            records = of_scope.log_records
            left -= len(records)
            if left < 0:
                raise TooLarge(f"the request holds more than {lines.MAX_LINES} log records: send smaller batches")
            if fault is not None:
                found.reject(len(records), fault)
                continue
            for record in records:
                add(
                    found,
                    window,
                    service,
                    time_of(found, record.time_unix_nano or record.observed_time_unix_nano, now),
                    record.severity_number,
                    _body(record),
                    _attributes(record),
                )
    return found


def service_name(resource: Iterable[tuple[str, str]]) -> str:
    return dict(resource).get("service.name") or lines.UNKNOWN_SERVICE


def time_of(found: Lines, nanos: int, now: int) -> int:
    """A record's time in microseconds, `now` where it has none."""
    found.is_timed &= nanos > 0
    return nanos // 1000 if nanos else now


def add(
    found: Lines,
    window: Window,
    service: str,
    time: int,
    severity: int,
    body: bytes | None,
    attributes: Sequence[bytes],
) -> None:
    """Add one record, or the reason why it can't be stored. `body` is None where it says nothing."""
    if body is None:
        found.reject(1, "the record has neither a body nor an event name")
    elif (fault := batch.time_fault(time, window)) is not None:
        found.reject(1, fault)
    else:
        severity = severity if 0 < severity <= lines.MAX_SEVERITY else 0
        found.accepted.append(Line(service, time, severity, lines.body(body), lines.attributes(attributes)))


def _body(record: Any) -> bytes | None:
    encoded: bytes = record.body
    if not encoded:
        return bytes(record.event_name) or None
    if encoded[0] == _STRING_TAG:
        # Nearly every body is a string and nothing else: what follows the length is the text, whatever its encoding.
        length = place = 0
        while place < min(len(encoded) - 1, 5):
            length |= (encoded[place + 1] & 0x7F) << 7 * place
            place += 1
            if encoded[place] < 0x80:
                if place + 1 + length == len(encoded):
                    return encoded[place + 1 :]
                break
    return otlp.text(otlp.plain(AnyValue.FromString(encoded))).encode()


def _attributes(record: Any) -> list[bytes]:
    found = [b'"trace_id":"%b"' % hexlify(record.trace_id)] if record.trace_id else []
    if record.span_id:
        found.append(b'"span_id":"%b"' % hexlify(record.span_id))
    found += [
        _known_attribute(encoded) if len(encoded) <= _SHORT else _read_attribute(encoded)
        for encoded in record.attributes
    ]
    return found


def _read_attribute(encoded: bytes) -> bytes:
    ((key, value),) = otlp.pairs([KeyValue.FromString(encoded)])
    return lines.attribute(key, value)


# Few attributes serve all records of a service.
_known_attribute = lru_cache(maxsize=16_384)(_read_attribute)


def response(rejected: int, message: str) -> bytes:
    """ExportLogsServiceResponse; its partial success is set only where records were left out."""
    reply = ExportLogsServiceResponse()
    if rejected:
        reply.partial_success.rejected_log_records = rejected
        reply.partial_success.error_message = message
    return bytes(reply.SerializeToString())
