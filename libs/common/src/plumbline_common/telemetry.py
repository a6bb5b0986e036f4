"""OpenTelemetry: traces, metrics and logs over OTLP, set by the standard OTEL_* variables.

Where no OTLP endpoint is set nothing is installed: the API's no-op tracer and meter cost next to nothing. FastAPI
makes the server spans and `http.server.request.duration` by itself once a provider is there.
"""

import asyncio
import json
import logging
import os
import re
import socket
import sys
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

from opentelemetry import metrics, propagate, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.propagators.textmap import default_setter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from plumbline_common import instruments
from plumbline_common.db import Kept

SECONDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
_EXPORT_TIMEOUT_SECONDS = 3

tracer = trace.get_tracer("plumbline")
_SERVICES = ("requirements", "search", "analysis")
_PRODUCER: instruments.Attributes = {"plumbline.producer": _SERVICES}
_CONSUMER: instruments.Attributes = {"messaging.consumer.group.name": _SERVICES, **_PRODUCER}

validation_errors = instruments.counter(
    "plumbline.validation.errors",
    "{error}",
    "Malformed members of requests",
    {"http.route": "the routes", "plumbline.field": "the names of members"},
)
consumer_lag = instruments.gauge(
    "plumbline.consumer.lag", "{message}", "Messages that a consumer has not been given yet", _CONSUMER
)
event_age = instruments.histogram(
    "plumbline.consumer.event.age", "s", "From the writing of an event to its arrival at a consumer", _CONSUMER
)
outbox_backlog = instruments.gauge(
    "plumbline.outbox.backlog", "{event}", "Events of the log that are not in the stream yet", _PRODUCER
)
outbox_age = instruments.gauge(
    "plumbline.outbox.age", "s", "The age of the oldest event that is not in the stream yet", _PRODUCER
)
loop_lag = instruments.histogram("plumbline.event_loop.lag", "s", "How late the event loop runs what is due")
loop_blocks = instruments.counter(
    "plumbline.event_loop.blocks",
    "{block}",
    "Blocks of the event loop over the watchdog's threshold",
    {"code.location": "lines of the suite's code"},
)
open_streams = instruments.up_down_counter("plumbline.streams", "{stream}", "Event streams that are open")
shed_requests = instruments.counter(
    "plumbline.requests.shed", "{request}", "Requests that were sent away because too many came"
)

span_of: WeakKeyDictionary[asyncio.Task[Any], trace.Span] = WeakKeyDictionary()
"""The span that a task works for: other threads cannot read a task's context."""
_engines: dict[str, tuple[AsyncEngine, Kept]] = {}
_set_up = False


def inject(context: Context | None = None) -> dict[str, str]:
    """`traceparent` and `tracestate` of `context` (default: the current one); empty where there is no trace."""
    carrier: dict[str, str] = {}
    _CONTEXT.inject(carrier, context, default_setter)
    return carrier


def extract(carrier: Mapping[str, str]) -> Context:
    """The context that a carrier of W3C headers holds."""
    return _CONTEXT.extract(carrier)


# Not baggage: what a caller says there would be stored with events and told to every subscriber.
_CONTEXT = TraceContextTextMapPropagator()
request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the HTTP request at work; empty outside of one."""


def remember_span() -> None:
    """Let other threads find the current span by the current task."""
    span, task = trace.get_current_span(), asyncio.current_task()
    if task is not None and span.is_recording():
        span_of[task] = span


def exports(signal: str) -> bool:
    """Whether `traces`, `metrics` or `logs` have somewhere to go."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return bool(
        os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
        or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    )


def set_up(service: str, environment: str, version: str) -> Callable[[], None]:
    """Install logging, and a provider for each signal that is exported. Once a process; returns what flushes.

    A collector that is away costs a request nothing: spans, points and records wait in bounded queues of
    background threads, and what does not fit is dropped.
    """
    global _set_up
    if _set_up:
        return _flush
    _set_up = True
    propagate.set_global_textmap(_CONTEXT)
    _log_to_stdout(service)
    resource = Resource.create(
        {
            "service.name": os.environ.get("OTEL_SERVICE_NAME", service),
            "service.namespace": "plumbline",
            "service.version": version,
            "service.instance.id": str(uuid.uuid4()),
            "deployment.environment.name": environment,
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
        }
    )
    if exports("traces"):
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=_EXPORT_TIMEOUT_SECONDS)))
        trace.set_tracer_provider(provider)
        # Otherwise it has the names of before HTTP's conventions became stable: `http.client.duration`, in ms.
        os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
        HTTPXClientInstrumentor().instrument()
    if exports("metrics"):
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(timeout=_EXPORT_TIMEOUT_SECONDS))
        metrics.set_meter_provider(MeterProvider([reader], resource=resource, views=_views()))
    if exports("logs"):
        logs = LoggerProvider(resource=resource)
        logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(timeout=_EXPORT_TIMEOUT_SECONDS)))
        set_logger_provider(logs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            handler = LoggingHandler(logging.INFO, logs)
        handler.addFilter(_no_secrets)
        handler.addFilter(lambda record: not record.name.startswith("opentelemetry"))
        logging.getLogger().addHandler(handler)
    return _flush


def _flush() -> None:
    """Send what waits, within seconds."""
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        if isinstance(provider, TracerProvider | MeterProvider):
            provider.force_flush(_EXPORT_TIMEOUT_SECONDS * 1000)


def _views() -> list[View]:
    """Seconds have bounds that tell milliseconds apart; the SDK's own are for milliseconds."""
    aggregation = ExplicitBucketHistogramAggregation(SECONDS)
    return [View(instrument_type=Histogram, instrument_unit="s", aggregation=aggregation)]


def observe_engine(engine: AsyncEngine, name: str, kept: Kept) -> None:
    """Show an engine's pool, and that `kept` are idle too, as `db.client.connection.count`; its statements as spans.

    By SQLAlchemy's own events: the contributed instrumentation does not take SQLAlchemy 2.1. A statement outside
    of any span, such as a relay's look for work, makes none.
    """
    _engines[name] = (engine, kept)
    if exports("traces"):
        event.listen(engine.sync_engine, "before_cursor_execute", _statement_begins)
        event.listen(engine.sync_engine, "after_cursor_execute", _statement_ends)
        event.listen(engine.sync_engine, "handle_error", _statement_fails)


SUMMARY = "plumbline_summary"
"""An execution option: what to call a statement that does not begin with what it is for."""
_SUMMARY = re.compile(
    r"(?is)\b(insert)\s+into\s+\"?([a-z_][\w.]*)|\b(update)\s+\"?([a-z_][\w.]*)|\b(delete)\s+from\s+\"?([a-z_][\w.]*)"
    r"|^\s*(select)\b(?:.*?\bfrom\s+\"?([a-z_][\w.]*))?"
)


def _summary(statement: str) -> str:
    """`INSERT outbox`: the first writing operation and its table, or the table that is read from."""
    found = _SUMMARY.search(statement)
    if found is None:
        return statement.split(maxsplit=1)[0].upper()
    verb, *table = (group for group in found.groups() if group)
    return " ".join([verb.upper(), *table])


def _statement_begins(
    connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> None:
    if context is not None and trace.get_current_span().is_recording():
        summary = context.execution_options.get(SUMMARY) or _summary(statement)
        context.plumbline_span = tracer.start_span(
            summary,
            kind=trace.SpanKind.CLIENT,
            attributes={
                "db.system.name": "postgresql",
                "db.query.summary": summary,
                "db.query.text": statement[:2000],  # with placeholders: no values
            },
        )


def _statement_ends(
    connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> None:
    if (span := getattr(context, "plumbline_span", None)) is not None:
        span.end()


def _statement_fails(error: Any) -> None:
    if (span := getattr(error.execution_context, "plumbline_span", None)) is not None:
        span.set_attribute("error.type", type(error.original_exception).__name__)
        span.set_status(trace.StatusCode.ERROR)
        span.end()


def _pools(options: CallbackOptions) -> Iterable[Observation]:
    for name, (engine, kept) in _engines.items():
        pool: Any = engine.pool
        for state, count in (("used", pool.checkedout() - kept.idle), ("idle", pool.checkedin() + kept.idle)):
            yield Observation(count, {"db.client.connection.pool.name": name, "db.client.connection.state": state})


instruments.observable_up_down_counter(
    "db.client.connection.count",
    "{connection}",
    "Connections of the pool to PostgreSQL",
    _pools,
    {"db.client.connection.pool.name": _SERVICES, "db.client.connection.state": ("used", "idle")},
)


# --- Logs -----------------------------------------------------------------------------------------------

_PASSWORD = re.compile(r"(\w://[^\s:/@]+):[^\s@/]+@")
_BEARER = re.compile(r"(?i)(bearer\s+)[\w.~+/=-]{8,}")
_ORDINARY = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


def _masked(text: str) -> str:
    return _BEARER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def _no_secrets(record: logging.LogRecord) -> bool:
    try:
        said = record.getMessage()
    except (TypeError, ValueError):  # whoever logs wrongly must not fail for it
        said, record.msg, record.args = "", f"{record.msg} {record.args!r}", ()
    if (masked := _masked(said or str(record.msg))) != said:
        record.msg, record.args = masked, ()
    if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
        # Exporters print the exception themselves: where it tells a secret, its masked text goes instead.
        told = "".join(traceback.format_exception(record.exc_info[1]))
        if (masked := _masked(told)) != told:
            record.exc_info, record.exc_text = None, masked
    return True


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the trace, and what was given as `extra`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": _masked(record.getMessage()),
        }
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = f"{context.trace_id:032x}"
            line["span_id"] = f"{context.span_id:016x}"
        line |= {name: value for name, value in vars(record).items() if name not in _ORDINARY}
        if record.exc_info and record.exc_info[0]:
            line["exception"] = {
                "type": record.exc_info[0].__name__,
                "message": _masked(str(record.exc_info[1])),
                "stacktrace": _masked(self.formatException(record.exc_info)),
            }
        return json.dumps(line, default=str, ensure_ascii=False)


class OncePerMinute(logging.Filter):
    """Lets a logger say the same thing once a minute: an exporter repeats itself while its collector is away."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = f"{record.name}:{record.lineno}"
        if record.created - self._said.get(key, float("-inf")) < 60:
            return False
        self._said[key] = record.created
        # The chain of a refused connection is long, and tells nothing that its last line does not.
        record.exc_info = None
        return True


def _log_to_stdout(service: str) -> None:
    handler = logging.StreamHandler(sys.stdout)
    if sys.stdout.isatty():
        form = logging.Formatter("\033[2m%(asctime)s\033[0m %(levelname)-7s \033[36m%(name)s\033[0m %(message)s")
    else:
        form = JsonLines(service)
    handler.setFormatter(form)
    handler.addFilter(_no_secrets)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    quiet = OncePerMinute()
    for name in logging.root.manager.loggerDict:
        if name.startswith("opentelemetry"):
            logging.getLogger(name).addFilter(quiet)
        if name in ("uvicorn", "uvicorn.error"):
            # uvicorn's own handlers print another format. Its access log stays off: the gateway has one.
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).propagate = True
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
