"""docs/metrics.md, as the instruments say; and whether docs/log-messages.md has each warning and error."""

import ast
import importlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from plumbline_common import instruments
from plumbline_common.instruments import Instrument, Kind

SOURCES = {
    "plumbline_common": Path("libs/common/src"),
    "plumbline_requirements": Path("services/requirements/src"),
    "plumbline_search": Path("services/search/src"),
    "plumbline_analysis": Path("services/analysis/src"),
    "plumbline_stack": Path("libs/stack/src"),
}
"""By package: where its modules lie, from `root`, the repository's."""
RULES = (Path("deploy/k8s/base/rules.yaml"), Path("deploy/k8s/overlays/prod/database.yaml"))
RESOURCE = (
    "service.name",
    "service.namespace",
    "service.version",
    "service.instance.id",
    "deployment.environment.name",
    "host.name",
    "process.pid",
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
)
"""Attributes of the process, beside those of its metrics."""
OF_FASTAPI = (
    Instrument(
        "http.server.request.duration",
        "histogram",
        "s",
        "How long requests took; the gateway's by Envoy",
        {
            "http.request.method": "OpenTelemetry's known methods, else `_OTHER`",
            "http.route": "the routes; none where nothing is served",
            "http.response.status_code": "the statuses",
            "error.type": "of those that failed: the status, or the name of the exception",
            "url.scheme": ("http", "https"),
            "network.protocol.version": ("1.1",),
            "http.response.status_class": "of the gateway's alone: `2` for 2xx",
        },
    ),
    Instrument(
        "http.server.active_requests",
        "up-down counter",
        "{request}",
        "Requests at work; the gateway's by Envoy",
        {
            "http.request.method": "OpenTelemetry's known methods, else `_OTHER`",
            "url.scheme": ("http", "https"),
            "envoy.http_conn_manager_prefix": "of the gateway's alone",
        },
    ),
)
_MEMORY = {"system.memory.state": ("used", "free", "cached")}
OF_HTTPX = Instrument(
    "http.client.request.duration",
    "histogram",
    "s",
    "How long requests to others took; where traces are exported",
    {
        "http.request.method": ("GET", "POST"),
        "server.address": "the hosts that are configured",
        "server.port": "theirs",
        "http.response.status_code": "the statuses",
        "network.protocol.version": ("1.0", "1.1", "2"),
        "error.type": "names of exceptions, or the status",
    },
)
OF_OTHERS = (
    Instrument("process.memory.usage", "up-down counter", "By", "What the gateway's process holds in memory", {}),
    Instrument(
        "system.cpu.utilization",
        "gauge",
        "1",
        "Of the host",
        {"cpu.mode": ("user", "system", "idle", "iowait"), "cpu.logical_number": "the processors"},
    ),
    Instrument("system.memory.usage", "gauge", "By", "Of the host", _MEMORY),
    Instrument("system.memory.utilization", "gauge", "1", "Of the host", _MEMORY),
    Instrument("system.paging.utilization", "gauge", "1", "Of the host", {"system.paging.state": ("used", "free")}),
)
"""Of the gateway, and of the embedded stack's host."""
_SUFFIXES: Mapping[Kind, tuple[str, ...]] = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "gauge": ("",),
    "up-down counter": ("",),
}
_UNITS = {"s": "_seconds", "By": "_bytes", "1": "_ratio"}
_HEAD = """# Metrics

What the suite tells of itself, over OTLP ([where to](configuration.md)); the log messages have
[their own page](log-messages.md). Names are those of
[OpenTelemetry's semantic conventions](https://opentelemetry.io/docs/specs/semconv/) where they have one, and
`plumbline.…` otherwise. The declarations of the instruments make this page, by `make specs`.

Each comes with the resource of its process: `service.name` (`plumbline-requirements`, `plumbline-search`,
`plumbline-analysis`, `plumbline-analysis-worker`, `plumbline-gateway`), `service.namespace`, `service.version`,
`service.instance.id`, `deployment.environment.name`, `host.name`, `process.pid`, `telemetry.sdk.…`. In Prometheus the
collector gives them the second name below, to which a histogram adds `_bucket`, `_count` and `_sum`. Durations have
buckets from 5 ms to 30 s.

An attribute whose values are not listed has as many as there are of what it names. Pods are scaled by their CPU, and
workers of jobs by the lag of the consumer `analysis-jobs`, as [NATS tells it](kubernetes.md): by none of these.
"""
_TABLE = "| metric, in Prometheus | kind, unit | attributes | what | alerts |\n| --- | --- | --- | --- | --- |\n"


def exposed(name: str, unit: str, kind: Kind) -> set[str]:
    """The names in Prometheus of an instrument, as the collector's exporter gives them."""
    base = re.sub(r"[^a-zA-Z0-9_:]", "_", name) + ("" if kind == "counter" and unit == "1" else _UNITS.get(unit, ""))
    return {base + suffix for suffix in _SUFFIXES[kind]}


def every(root: Path = Path()) -> list[Instrument]:
    """All that stands on the page."""
    return [*OF_FASTAPI, OF_HTTPX, *OF_OTHERS, *chain.from_iterable(metrics(root).values())]


def metrics(root: Path = Path()) -> dict[str, list[Instrument]]:
    """By the package that makes them. Imports each module that declares one."""
    found: dict[str, list[Instrument]] = {}
    for package, source in SOURCES.items():
        for path in sorted((root / source / package).rglob("*.py")):
            names = list(_declarations(path))
            if names:
                importlib.import_module(".".join(path.relative_to(root / source).with_suffix("").parts))
                found.setdefault(package, []).extend(instruments.declared[name] for name in names)
    return found


def _declarations(path: Path) -> Iterator[str]:
    text = path.read_text()
    if "instruments." not in text:
        return
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="instruments")), args=[ast.Constant(value=str(name)), *_]
            ):
                yield name


def metrics_page(root: Path = Path()) -> str:
    alerts = _alerts(root)
    by_package = metrics(root)
    parts = [
        _HEAD,
        "## Every service\n",
        _table([*OF_FASTAPI, OF_HTTPX, *by_package.pop("plumbline_common")], alerts),
    ]
    for package, found in by_package.items():
        parts += [f"## {package.removeprefix('plumbline_')}\n", _table(found, alerts)]
    parts += ["## The gateway and the embedded stack\n", "The gateway also has the two of HTTP above.\n"]
    parts.append(_table(OF_OTHERS, alerts))
    return "\n".join(parts)


def _table(found: Iterable[Instrument], alerts: Mapping[str, Collection[str]]) -> str:
    rows = []
    for each in sorted(found, key=lambda each: each.name):
        names = exposed(each.name, each.unit, each.kind)
        shown = min(names, key=len).removesuffix("_sum") if each.kind == "histogram" else min(names)
        asking = sorted({alert for alert, asked in alerts.items() if names & set(asked)})
        attributes = "; ".join(f"`{name}`: {_values(values)}" for name, values in each.attributes.items())
        cells = [f"`{each.name}`, `{shown}`", f"{each.kind}, `{each.unit}`", attributes, each.what, ", ".join(asking)]
        rows.append(f"| {' | '.join(cells)} |\n")
    return _TABLE + "".join(rows)


def _values(values: str | Iterable[str]) -> str:
    return values if isinstance(values, str) else ", ".join(f"`{value}`" for value in values)


def _alerts(root: Path) -> dict[str, set[str]]:
    """The words of each alert's expression, with those of the rules that it takes its values from."""
    recorded: dict[str, set[str]] = {}
    alerts: dict[str, set[str]] = {}
    for path in RULES:
        for document in yaml.safe_load_all((root / path).read_text()):
            for group in _groups(document):
                for rule in group["rules"]:
                    words = set(re.findall(r"[a-zA-Z_:][\w:]*", rule["expr"]))
                    (alerts if "alert" in rule else recorded)[rule.get("alert") or rule["record"]] = words
    for words in alerts.values():
        words |= {word for name in words & recorded.keys() for word in recorded[name]}
    return alerts


def _groups(document: Any) -> list[Any]:
    found: list[Any] = document["spec"]["groups"] if document and document["kind"] == "PrometheusRule" else []
    return found


# --- Logs -----------------------------------------------------------------------------------------------

_LEVELS = {"warning": "warning", "error": "error", "exception": "error", "critical": "critical"}


class Message(NamedTuple):
    level: str
    logger: str
    text: str
    """With the placeholders of `%`."""


def messages(root: Path = Path()) -> list[Message]:
    """Each warning and error that the code logs."""
    found = set()
    for package, source in SOURCES.items():
        for path in (root / source / package).rglob("*.py"):
            module = ".".join(path.relative_to(root / source).with_suffix("").parts).removesuffix(".__init__")
            found |= {Message(level, module, text) for level, text in _logged(ast.parse(path.read_bytes()))}
    return sorted(found)


def _logged(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "_log"), attr=method)) if method in _LEVELS:
                said = node.args[0]
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "_log"), attr="log")):
                said, method = node.args[1], "warning"
            case _:
                continue
        yield _LEVELS[method], str(said.value) if isinstance(said, ast.Constant) else ast.unparse(said)


def log_drift(page: str, root: Path = Path()) -> list[str]:
    """What the page of the log messages lacks, and what it has that no code logs."""
    told = {
        Message(cells[0], cells[1], cells[2].replace(r"\|", "|"))
        for line in page.splitlines()
        if len(cells := [cell.strip("` ") for cell in re.split(r"(?<!\\)\|", line.strip("|"))]) == 4
        and cells[0] in _LEVELS.values()
    }
    logged = set(messages(root))
    return [
        *(f"lacks {message}" for message in sorted(logged - told)),
        *(f"has {message}, which no code logs" for message in sorted(told - logged)),
    ]
