"""docs/configuration.md: what each setting is, as its class says."""

from collections.abc import Iterator, Mapping
from typing import Any

from plumbline_common.settings import ServiceSettings

_HEAD = """# Configuration

Each service reads its settings from the environment. What is missing or wrong stops it at its start, with a line for
each variable that says what is wrong with it and gives an example. The classes of the settings make this page, by
`make specs`.

Migrations take `PLUMBLINE_NAME_OWNER_DATABASE_URL`, the address for the role that owns the schema
([roles](identity.md#postgresql)).

Telemetry follows OpenTelemetry's variables, and goes nowhere without them: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`,
`…_LOGS_ENDPOINT`, `…_METRICS_ENDPOINT` (full URLs, http/protobuf) or `OTEL_EXPORTER_OTLP_ENDPOINT` for all three,
`OTEL_EXPORTER_OTLP_METRICS_HEADERS`, `OTEL_METRIC_EXPORT_INTERVAL` (ms), `OTEL_SERVICE_NAME`,
`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SDK_DISABLED`. The variables of [the gateway](gateway.md) stand at the top of
`deploy/gateway/envoy.yaml`.
"""
_TABLE = "| variable | takes | default | what |\n| --- | --- | --- | --- |\n"


def page(services: Mapping[str, type[ServiceSettings]]) -> str:
    """The whole page, of the settings of each service by name."""
    shared = set(ServiceSettings.model_fields)
    parts = [_HEAD, "## Every service\n", "`NAME` is `REQUIREMENTS`, `SEARCH` or `ANALYSIS`.\n"]
    parts.append(_TABLE + "".join(_rows(ServiceSettings, "PLUMBLINE_NAME_", shared)))
    for name, settings in services.items():
        own = set(settings.model_fields) - shared
        prefix = settings.model_config["env_prefix"]
        parts += [f"## {name}\n", _TABLE + "".join(_rows(settings, prefix, own))]
    return "\n".join(parts)


def _rows(settings: type[ServiceSettings], prefix: str, names: set[str]) -> Iterator[str]:
    schema = settings.model_json_schema()
    groups: dict[str, str] = {}
    for name, member in schema["properties"].items():
        if name in names:
            variable = f"{prefix}{name.upper()}"
            yield from _setting(variable, member, name in schema.get("required", ()), schema.get("$defs", {}), groups)


def _setting(
    variable: str, member: Mapping[str, Any], is_needed: bool, defs: Mapping[str, Any], groups: dict[str, str]
) -> Iterator[str]:
    """A row, or one for each member of a group; `groups` are those that were told, by the name of their class."""
    said = " ".join(member.get("description", "").split())
    kind = next((each for each in member.get("anyOf", ()) if each.get("type") != "null"), member)
    if (reference := kind.get("$ref")) is None:
        yield _row(variable, _taken(kind, member), _default(member, is_needed), said)
        return
    group = str(reference).rpartition("/")[2]
    if group in groups:
        yield _row(f"{variable}__…", f"as `{groups[group]}__…`", "none", said)
        return
    groups[group] = variable
    yield _row(f"{variable}__…", "the following", "none", said)
    for name, inner in defs[group]["properties"].items():
        needed = name in defs[group].get("required", ())
        yield from _setting(f"{variable}__{name.upper()}", inner, needed, defs, groups)


def _row(*cells: str) -> str:
    variable, *others = (each.replace("|", "\\|") for each in cells)
    return f"| `{variable}` | {' | '.join(others)} |\n"


def _default(member: Mapping[str, Any], is_needed: bool) -> str:
    if is_needed:
        return "**needed**"
    # What is made at the start is told by its example.
    default = member["default"] if "default" in member else member["examples"][0]
    return "none" if default in (None, "", []) else f"`{default}`"


def _taken(kind: Mapping[str, Any], member: Mapping[str, Any]) -> str:
    if choices := kind.get("enum"):
        return " or ".join(f"`{each}`" for each in choices)
    if kind["type"] in ("integer", "number"):
        return ("a whole number" if kind["type"] == "integer" else "a number") + _range(kind)
    format = {"path": "a path", "directory-path": "a folder", "uri": "a URL"}.get(kind.get("format", ""), "text")
    noun = "a list, as JSON or with commas" if kind["type"] == "array" else format
    return noun + (f", such as `{member['examples'][0]}`" if member.get("examples") else "")


def _range(kind: Mapping[str, Any]) -> str:
    least, most, above = (kind.get(name) for name in ("minimum", "maximum", "exclusiveMinimum"))
    if least is not None and most is not None:
        return f", {least} to {most}"
    bounds = ((least, "{} or more"), (above, "more than {}"), (most, "{} at most"))
    return "".join(f", {said.format(bound)}" for bound, said in bounds if bound is not None)
