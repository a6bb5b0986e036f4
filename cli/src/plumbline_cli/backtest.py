"""`plumbline backtest`: the detection engine and its alarms over the points of a CSV, without a server."""

import contextlib
import csv
import io
import math
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from plumbline_analysis.moments import moment
from plumbline_cli import draw, files, points
from plumbline_cli.shell import EXIT_CODES, Code, Format, Told, console, errors, fail, many, telling, write

if TYPE_CHECKING:
    from plumbline_analysis.detection.backtest import Backtest
    from plumbline_analysis.detection.batch import Hindsight

COLUMNS = ("timestamp", "value", "score", "lower", "upper", "alarm")
WIDTH = 80
"""Places of the picture."""
SHOWN = 50
"""Lines of a table at most; JSON and YAML have all."""
WIDEST = 110
"""Columns that the tables need; a narrower terminal breaks their lines, so that no time is cut off."""
UNITS = (("d", 86_400e6), ("h", 3_600e6), ("min", 60e6), ("s", 1e6))

app = typer.Typer()


@app.command(epilog=EXIT_CODES)
def backtest(
    file: Annotated[Path, typer.Option("--csv", metavar="FILE", help="timestamp,value; - is standard input")],
    score_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"The CSV to write, {','.join(COLUMNS)}; - is standard output")
    ] = None,
    hindsight: Annotated[
        bool, typer.Option("--hindsight", help="Also what only all points together show: seasons, discords, changes")
    ] = False,
    window: Annotated[
        int | None, typer.Option(min=8, help="Intervals that a discord lasts; default: a period of the season")
    ] = None,
    output: Format = "table",
) -> None:
    """Run the detection engine over a file, without a server: what it would have said as the points came.

    Timestamps are ISO 8601, in UTC where they name no zone, or seconds, milliseconds or microseconds since 1970. A
    value that is empty or NaN is missing.
    """
    piped = str(score_out) == "-"
    if piped and output != "table":
        fail(f"--output {output} and --score-out - both go to standard output", Code.USAGE)
    if window and not hindsight:
        fail("--window goes with --hindsight", Code.USAGE)
    with telling():
        run = _run(file, score_out, hindsight)
        seen = _looked_back(run, window) if hindsight else None
    if output == "table":
        _show(errors if piped else console, run, seen)
    else:
        write(_told(run, seen), output)


# --- The run --------------------------------------------------------------------------------------------


@dataclass
class Run:
    """What came of a file. The points themselves are kept only to look back on them."""

    backtest: "Backtest"
    strip: draw.Strip
    rows: int = 0
    at: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))


def _run(file: Path, score_out: Path | None, keep: bool) -> Run:
    from plumbline_analysis.detection.backtest import Backtest

    run = Run(Backtest(), draw.Strip(WIDTH))
    with contextlib.ExitStack() as opened:
        batches = opened.enter_context(_batches(file))
        rows = opened.enter_context(_rows(score_out)) if score_out else None
        for batch in batches:
            scored = _scored(run, batch)
            if rows:
                rows.writerows(scored)
            if keep:
                run.at.extend(batch.at)
                run.values.extend(batch.values)
    return run


@contextlib.contextmanager
def _batches(file: Path) -> Iterator[Iterator[points.Batch]]:
    """The points of a file; how far it is read is told on standard error."""
    columns = (TextColumn("judges"), BarColumn(), DownloadColumn())
    with (
        files.source(file) as source,
        Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as shown,
    ):
        task = shown.add_task("", total=file.stat().st_size if file.is_file() else None)

        def batches() -> Iterator[points.Batch]:
            for batch in points.batches(source):
                yield batch
                if file.is_file():
                    shown.update(task, completed=source.tell())

        try:
            yield batches()
        except points.Malformed as error:
            raise Told(f"{file}, {error}", Code.USAGE) from None


@contextlib.contextmanager
def _rows(out: Path) -> Iterator[Any]:
    """A writer of CSV, below its header."""
    with files.sink(out) as to:
        text = io.TextIOWrapper(to, encoding="utf-8", newline="", write_through=False)
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(COLUMNS)
        yield rows
        text.flush()
        text.detach()


def _scored(run: Run, batch: points.Batch) -> Iterator[tuple[Any, ...]]:
    """The rows that are written for a batch; None is an empty cell."""
    found, opened = run.backtest.add(batch.at, batch.values)
    score, lower, upper = (_known(each.tolist()) for each in (found.score, found.lower, found.upper))
    alarm: list[bool] = opened.tolist()
    for point in zip(batch.values, lower, upper, score, alarm, strict=True):
        if math.isfinite(point[0]):
            run.strip.add(*point)
    run.rows += len(alarm)
    return zip(batch.stamps, batch.texts, score, lower, upper, map(int, alarm), strict=True)


def _known(column: list[float]) -> list[float | None]:
    return [None if math.isnan(each) else each for each in column]


def _looked_back(run: Run, window: int | None) -> "Hindsight":
    from plumbline_analysis.detection.batch import look_back

    with errors.status("looks back"):
        return look_back(run.at, run.values, window)


# --- What is told ---------------------------------------------------------------------------------------


def _told(run: Run, seen: "Hindsight | None") -> dict[str, Any]:
    counted = run.backtest.counters
    alarms = [
        {
            "onset": _when(alarm.onset),
            "end": _when(alarm.last) if alarm.ended else None,
            "direction": alarm.peak.direction,
            "seen_by": _seen_by(alarm.peak.members),
            "peak": asdict(alarm.peak) | {"at": _when(alarm.peak.at), "members": list(alarm.peak.members)},
        }
        for alarm in run.backtest.alarms
    ]
    told = {"rows": run.rows, "missing": counted.missing, "late": counted.late, "alarms": alarms}
    return told | ({"hindsight": _told_back(seen)} if seen else {})


def _told_back(seen: "Hindsight") -> dict[str, Any]:
    return {
        "step_seconds": seen.step / 1e6,
        "averaged": seen.averaged,
        "window": seen.window,
        "seasons": [{"period_seconds": each.period_us / 1e6, "explained": each.explained} for each in seen.seasons],
        "discords": [
            asdict(each) | {name: _when(getattr(each, name)) for name in ("begin", "end", "nearest")}
            for each in seen.discords
        ],
        "changepoints": [
            asdict(each) | {"kind": each.kind.value, "at": _when(each.at)} for each in seen.changepoints
        ],
    }


def _show(to: Console, run: Run, seen: "Hindsight | None") -> None:
    to = Console(file=to.file, width=max(to.width, WIDEST))
    alarms, counted = run.backtest.alarms, run.backtest.counters
    to.print(draw.sparkline(run.strip.places, WIDTH), run.strip.marks(), sep="\n")
    table = _table("alarms", "onset", "end", "peak", "score", "value", "expected", "seen by")
    for alarm in alarms[:SHOWN]:
        peak = alarm.peak
        end = _when(alarm.last) if alarm.ended else "open"
        figures = (f"{peak.score:.2f}", f"{peak.value:.6g}", f"{peak.expected:.6g}")
        table.add_row(_when(alarm.onset), end, _when(peak.at), *figures, _seen_by(peak.members))
    _print(to, table, len(alarms))
    if seen:
        _show_back(to, seen)
    rest = f"{counted.missing} missing, {counted.late} late or doubled, {many(len(alarms), 'alarm')}"
    errors.print(f"{many(run.rows, 'row')}, {rest}")


def _show_back(to: Console, seen: "Hindsight") -> None:
    if seen.averaged > 1:
        to.print(f"looked at in means of {seen.averaged} points")
    seasons = [f"{_long(each.period_us)} (explains {each.explained:.0%})" for each in seen.seasons]
    to.print(f"season: {', '.join(seasons) or 'none'}")
    discords = _table("discords", "begin", "end", "distance", "usual", "most like it")
    for each in seen.discords:
        cells = (f"{each.distance:.2f}", f"{each.usual:.2f}", _when(each.nearest))
        discords.add_row(_when(each.begin), _when(each.end), *cells)
    _print(to, discords, len(seen.discords))
    changes = _table("changes for good", "at", "of", "before", "after", "strength")
    for change in seen.changepoints[:SHOWN]:
        cells = (f"{change.before:.6g}", f"{change.after:.6g}", f"{change.strength:.2f}")
        changes.add_row(_when(change.at), change.kind.value, *cells)
    _print(to, changes, len(seen.changepoints))


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)


def _print(to: Console, table: Table, count: int) -> None:
    if not count:
        to.print(f"{table.title}: none")
        return
    to.print(table)
    if count > table.row_count:
        to.print(f"[dim]{table.row_count} of {count}; --output json has all[/]")


def _when(microseconds: int) -> str:
    return moment(microseconds).isoformat().replace("+00:00", "Z")


def _long(microseconds: float) -> str:
    for unit, length in UNITS:
        if microseconds >= length:
            return f"{microseconds / length:.4g} {unit}"
    return f"{microseconds:.4g} µs"


def _seen_by(members: tuple[float, ...]) -> str:
    from plumbline_analysis.detection.streams import Member

    return Member(max(range(len(members)), key=members.__getitem__)).name.lower()
