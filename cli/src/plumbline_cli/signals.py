"""`plumbline signals`: what is measured, as it goes, and stored history judged again: detectors, scores, a bar."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import typer
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from plumbline_cli import draw, jobs, shell, watching
from plumbline_cli.client import Gateway
from plumbline_cli.shell import Caller, Code, calling, console, fail

app = typer.Typer(help="Series and what watches them.", epilog=shell.EXIT_CODES, no_args_is_help=True)

PATH = "/api/v1/signals"
SHOWN = 20
"""Alarms of each detector in a table; JSON and YAML have them all."""
WIDEST = 100
NUMBERS = ("bar", "min_absolute", "min_relative", "limit", "onset_points", "calm_points")
WORDS = ("name", "direction")
AT_ONCE = 8
"""Series that are asked for at the same time."""
_NARROW = 24
"""Places of a sparkline in a table."""
_WIDE = 100
Id = Annotated[str, typer.Argument(metavar="SIGNAL", help="The signal's id, as list prints it")]
Last = Annotated[str, typer.Option("--last", metavar="DURATION", help="Up to now, such as 15m, 2h or 1d")]


@app.command("list", epilog=shell.EXIT_CODES)
@calling("viewer")
def list_(
    caller: Caller,
    service: Annotated[str | None, typer.Option(help="service.name")] = None,
    metric: Annotated[str | None, typer.Option(help="OpenTelemetry's name of it")] = None,
    last: Last = "1h",
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """List signals, the newest first, each with its latest values."""
    span = shell.duration(last)
    page = shell.pages(caller, PATH, skip, limit, all, service=service, metric=metric)
    if output != "table":
        return shell.write(page, output)
    series = caller.ask(lambda gateway: _several(gateway, page["items"], span))
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("service", "metric", f"last {last}", "now", "kind", "id"):
        table.add_column(column, no_wrap=column.startswith("last"), overflow="fold")
    for item, points in zip(page["items"], series, strict=True):
        table.add_row(
            shell.text(item["service"] or ""),
            shell.text(_metric(item)),
            draw.sparkline(points, _NARROW),
            shell.text(_value(_latest(points).get("value"), item["unit"])),
            shell.text(item["kind"]),
            shell.text(item["id"]),
        )
    console.print(table)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def show(caller: Caller, signal: Id, last: Last = "1h", output: shell.Format = "table") -> None:
    """Show one signal: what it is, and how it went."""
    span = shell.duration(last)
    found = caller.ask(lambda gateway: _with_series(gateway, signal, span))
    if output != "table":
        return shell.write(found, output)
    console.print(_picture(found, last))
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def watch(
    caller: Caller, signal: Id, last: Last = "15m", every: watching.Every = 2, output: watching.Format = "table"
) -> None:
    """Watch a signal until Ctrl-C: as it went, or each new value in a line."""
    span = shell.duration(last)
    view = watching.View(
        ask=lambda gateway: _with_series(gateway, signal, span),
        picture=lambda found: _picture(found, last),
        news=_NewPoints(),
        line=_line,
    )
    watching.watch(caller, view, every, output)


class _NewPoints:
    """The news of a series: the slices that are over and were not told of."""

    def __init__(self) -> None:
        self._told: datetime | None = None

    def __call__(self, found: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        series = found["series"]
        # Its last slice may still go on.
        over = datetime.fromisoformat(series["end"]) - timedelta(seconds=series["step_seconds"])
        new = []
        for point in series["points"]:
            at = datetime.fromisoformat(point["time"])
            if at <= over and (self._told is None or at > self._told):
                new.append(point | {"unit": series["unit"]})
                self._told = at
        return new


async def _with_series(gateway: Gateway, id: str, span: timedelta) -> dict[str, Any]:
    """The signal, and `series` of it."""
    signal: dict[str, Any] = await gateway.get(_path(id))
    return signal | {"series": await _series(gateway, id, span)}


async def _series(gateway: Gateway, id: str, span: timedelta, max_points: int | None = None) -> dict[str, Any]:
    start = (datetime.now(UTC) - span).isoformat()
    found: dict[str, Any] = await gateway.get(f"{_path(id)}/series", **{"from": start}, max_points=max_points)
    return found


async def _several(
    gateway: Gateway, signals: Sequence[Mapping[str, Any]], span: timedelta
) -> list[Sequence[Mapping[str, Any]]]:
    """The points of each."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def points(id: str) -> Sequence[Mapping[str, Any]]:
        async with turn:
            found: Sequence[Mapping[str, Any]] = (await _series(gateway, id, span, _NARROW))["points"]
            return found

    return await asyncio.gather(*(points(each["id"]) for each in signals))


def _picture(found: Mapping[str, Any], last: str) -> Group:
    series = found["series"]
    values = [point["value"] for point in series["points"] if point["value"] is not None]
    facts = [f"{series['aggregation']} of {series['step_seconds']:g} s, last {last}"]
    if values:
        facts += [f"{name} {_value(of(values), found['unit'])}" for name, of in (("min", min), ("max", max))]
    lines = [
        Text.assemble(shell.text(_metric(found)), (f" {shell.text(found['service'] or '')}", "bold")),
        draw.sparkline(series["points"], min(_WIDE, console.width)),
        shell.text(", ".join(facts)),
    ]
    if values:
        lines.append(_line(_latest(series["points"]) | {"unit": found["unit"]}))
    return Group(*lines)


def _line(point: Mapping[str, Any]) -> Text:
    """One value and, where a detector watches, its band and score."""
    line = Text.assemble((shell.moment(point["time"]), "dim"), " ", _value(point["value"], point["unit"]))
    if point.get("lower") is not None and point.get("upper") is not None:
        line.append(f" in {point['lower']:.6g}…{point['upper']:.6g}")
    if point.get("score") is not None:
        line.append(f" score {point['score']:.2f}", style="bold red" if point["score"] >= 1 else "")
    return line


def _latest(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return next((dict(point) for point in reversed(points) if point["value"] is not None), {})


def _metric(signal: Mapping[str, Any]) -> str:
    """Its metric, with the attributes of the point that tell it from others of the service."""
    own = {name: value for name, value in signal["attributes"].items() if name not in signal["resource"]}
    said = ", ".join(f"{name}={value}" for name, value in sorted(own.items()))
    return f"{signal['metric']} {{{said}}}" if said else str(signal["metric"])


def _value(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.6g} {unit}".rstrip()


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def backtest(
    caller: Caller,
    signal: Id,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MEMBER=VALUE,…",
            help="A detector to try, such as name=strict,bar=0.8,direction=up; repeatable, up to 8",
        ),
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(metavar="START/END", help="When something was wrong; default: what people labelled; repeatable"),
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="RFC 3339; default: 14 days before --to")] = None,
    end: Annotated[str | None, typer.Option("--to", help="RFC 3339; default: now")] = None,
    step: Annotated[int | None, typer.Option(min=1, help="Seconds a slice")] = None,
    aggregation: Annotated[str | None, typer.Option(help="How the points of a slice become one, such as p95")] = None,
    output: shell.Format = "table",
) -> None:
    """Try detectors on a signal's history, side by side: what they would have raised, and how good that is."""
    given = {
        "detectors": list(map(_detector, detector or [""])),
        "windows": list(map(_window, window)) if window else None,
        "start": start, "end": end, "step_seconds": step, "aggregation": aggregation,
    }  # fmt: skip
    body = {name: value for name, value in given.items() if value is not None}
    result = _done(caller, f"{_path(signal)}/backtests", body)
    if output != "table":
        return shell.write(result, output)
    _show(Console(file=console.file, width=max(console.width, WIDEST)), result)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def backfill(
    caller: Caller,
    signal: Annotated[str | None, typer.Argument(metavar="[SIGNAL]", help="The id of an indicator")] = None,
    service: Annotated[str | None, typer.Option(help="All of this service that a detector watches")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="RFC 3339; default: the first point that is kept")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="RFC 3339; default: where the detector has come to")] = None,
    output: shell.Format = "table",
) -> None:
    """Judge stored history by the present detectors: scores where there are none, and anomalies that were not known.

    These are marked, and nobody is called for them. What was judged before stays.
    """
    if (signal is None) == (service is None):
        fail("name a SIGNAL, or a --service", Code.USAGE)
    given = {"service": service, "start": start, "end": end}
    body = {name: value for name, value in given.items() if value is not None}
    path = f"{_path(signal)}/backfills" if signal else "/api/v1/services/backfills"
    result = _done(caller, path, body)
    if output != "table":
        return shell.write(result, output)
    table = Table()
    for column in ("signal", "from", "to", "slices", "scored", "anomalies", "why not"):
        table.add_column(column, justify="right" if column in ("slices", "scored", "anomalies") else "left")
    for each in result["signals"]:
        span = (shell.moment(each[name]) if each[name] else "–" for name in ("start", "end"))
        counts = (f"{each[name]:,}" for name in ("slices", "scored", "anomalies"))
        table.add_row(shell.text(each["signal_id"]), *span, *counts, shell.text(each["skipped"] or ""))
    Console(file=console.file, width=max(console.width, WIDEST)).print(table)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def retune(
    caller: Caller,
    signal: Annotated[str, typer.Argument(metavar="SIGNAL", help="The id of an indicator")],
    days: Annotated[int, typer.Option(min=1, max=35, help="Of history")] = 14,
    apply: Annotated[bool, typer.Option("--apply", help="Set the bar that is proposed")] = False,
    reason: Annotated[str | None, typer.Option(help="What the change is noted with")] = None,
    output: shell.Format = "table",
) -> None:
    """Propose the bar that people's labels ask for, measured on history; nothing is set without --apply."""
    body = {"days": days, "apply": apply} | ({"reason": reason} if reason else {})
    result = _done(caller, f"{_path(signal)}/detector/retunes", body)
    if output != "table":
        return shell.write(result, output)
    proposal, effect = result["proposal"], result["proposal"]["effect"]
    table = Table(title=f"{shell.moment(effect['start'])} to {shell.moment(effect['end'])}", title_justify="left")
    for column in ("", "bar", "alarms", "a week", "precision", "recall", "missed"):
        table.add_column(column, justify="right" if column else "left")
    for name in ("now", "then"):
        raised, quality = effect[name], result[name] or {}
        table.add_row(
            name,
            f"{raised['bar']:g}",
            str(raised["alarms"]),
            "–" if raised["a_week"] is None else f"{raised['a_week']:.1f}",
            _percent(quality.get("precision")),
            _percent(quality.get("recall")),
            str(quality.get("missed", "–")),
        )
    console.print(table)
    console.print(_outcome(signal, proposal, result["applied_revision"]), soft_wrap=True)
    return None


def _outcome(signal: str, proposal: dict[str, Any], applied: int | None) -> str:
    if applied is not None:
        return f"✓ the bar is {proposal['bar']:g} from now on, revision {applied}"
    if proposal["bar"] == proposal["effect"]["now"]["bar"]:
        return "the labels ask for no other bar"
    return f"nothing was changed; plumbline signals retune {signal} --apply"


def _path(signal: str) -> str:
    return f"{PATH}/{quote(signal, safe='')}"


def _done(caller: Caller, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The result of the job that a POST asks for, followed to its end."""
    asked = caller.ask(lambda gateway: gateway.post(path, body, str(uuid4()))).json()
    result: dict[str, Any] = jobs.followed(caller, asked["id"])["result"]
    return result


def _detector(said: str) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for part in filter(None, said.split(",")):
        name, _, value = part.partition("=")
        name = name.strip().replace("-", "_")
        if name in WORDS:
            members[name] = value.strip()
        elif name in NUMBERS:
            try:
                members[name] = float(value)
            except ValueError:
                fail(f"--detector: {name} takes a number, not {value!r}", Code.USAGE)
        else:
            fail(f"--detector: there is no {name!r}; there are {', '.join((*WORDS, *NUMBERS))}", Code.USAGE)
    return members


def _window(said: str) -> dict[str, str]:
    start, slash, end = said.partition("/")
    if not slash:
        fail(f"--window: {said!r} is not START/END", Code.USAGE)
    return {"start": start, "end": end}


def _show(to: Console, result: dict[str, Any]) -> None:
    span = f"{shell.moment(result['start'])} to {shell.moment(result['end'])}"
    table = Table(title=f"{span}, {result['points']} slices of {result['step_seconds']:g} s", title_justify="left")
    for column in ("detector", "alarms", "a week", "precision", "recall", "missed", "delay"):
        table.add_column(column, justify="left" if column == "detector" else "right")
    for tried in result["detectors"]:
        weekly, quality = tried["alarms_a_week"], tried["quality"] or {}
        delay = quality.get("delay_seconds")
        table.add_row(
            shell.text(tried["name"]),
            str(tried["alarms_total"]),
            "–" if weekly is None else f"{weekly:.1f}",
            _percent(quality.get("precision")),
            _percent(quality.get("recall")),
            str(quality.get("missed", "–")),
            "–" if delay is None else f"{delay:g} s",
        )
    to.print(table)
    for tried in result["detectors"]:
        _show_alarms(to, tried)


def _show_alarms(to: Console, tried: dict[str, Any]) -> None:
    if not tried["alarms"]:
        return
    columns = ("onset", "end", "direction", "score", "value", "expected", "label")
    table = Table(*columns, title=shell.text(tried["name"]), title_justify="left", box=None, pad_edge=False)
    for alarm in tried["alarms"][:SHOWN]:
        peak = alarm["peak"]
        table.add_row(
            shell.moment(alarm["onset"]),
            shell.moment(alarm["end"]) if alarm["end"] else "open",
            alarm["direction"],
            f"{peak['score']:.2f}",
            f"{peak['value']:.6g}",
            f"{peak['expected']:.6g}",
            (alarm["label"] or "").replace("_", " "),
        )
    to.print(table)
    if tried["alarms_total"] > SHOWN:
        to.print(f"[dim]{min(SHOWN, len(tried['alarms']))} of {tried['alarms_total']}; --output json has more[/]")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
