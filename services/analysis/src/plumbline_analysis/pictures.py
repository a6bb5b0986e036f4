"""A series as a picture: value, band, anomalies, limit, deployments; SVG for light and dark backgrounds. Pure."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

Theme = Literal["light", "dark", "auto"]

WIDTH, HEIGHT = 760, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 16, 48, 32
_TICKS = 6
_GAP = 2.5
"""After so many steps without a point the line is broken."""
_TINY = 1e-290  # below it, shares of a range are no longer exact
_BAND_MOST = 0.6
"""The band may make the picture taller by so much of what the values need: a wide one is cut."""
_LIMIT_MOST = 4.0
"""An objective farther than so many times the values is not shown."""
_STEPS = [timedelta(seconds=n) for n in (1, 2, 5, 10, 15, 30)]
_STEPS += [timedelta(minutes=n) for n in (1, 2, 5, 10, 15, 30)]
_STEPS += [timedelta(hours=n) for n in (1, 2, 3, 6, 12)]
_STEPS += [timedelta(days=n) for n in (1, 2, 7, 14, 28, 91, 365)]

_COLOURS = {
    "light": {
        "back": "#ffffff", "text": "#1f2430", "faint": "#6b7280", "grid": "#e5e7eb", "line": "#1d4ed8",
        "band": "#bfdbfe", "bad": "#dc2626", "limit": "#b45309", "event": "#6d28d9",
    },
    "dark": {
        "back": "#111827", "text": "#f3f4f6", "faint": "#9ca3af", "grid": "#273244", "line": "#60a5fa",
        "band": "#1e3a5f", "bad": "#f87171", "limit": "#fbbf24", "event": "#c4b5fd",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One slice, named by its end; the band is None where there is none."""

    time: datetime
    value: float | None
    expected: float | None = None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Span:
    """An anomaly; `end` is None while it goes on."""

    onset: datetime
    end: datetime | None
    peak_at: datetime
    peak: float


@dataclass(frozen=True)
class Mark:
    """A moment with a name, such as a deployment."""

    time: datetime
    label: str


@dataclass(frozen=True)
class Picture:
    """What is drawn, over [start, end]. `said` puts a value of the series into words, such as `612 ms`."""

    title: str
    subtitle: str
    start: datetime
    end: datetime
    points: Sequence[Point]
    said: Callable[[float], str]
    anomalies: Sequence[Span] = ()
    marks: Sequence[Mark] = ()
    limit: float | None = None
    limit_name: str = "objective"


@dataclass(frozen=True)
class _Frame:
    """Where moments and values lie in the picture."""

    start: float
    end: float
    low: float
    high: float

    def x(self, time: datetime) -> float:
        return self.xs([time])[0]

    def y(self, value: float) -> float:
        return self.ys([value])[0]

    def xs(self, times: Sequence[datetime]) -> list[float]:
        share = (np.array([time.timestamp() for time in times]) - self.start) / (self.end - self.start)
        return _rounded(_LEFT + np.clip(share, 0.0, 1.0) * (WIDTH - _LEFT - _RIGHT))

    def ys(self, values: Sequence[float]) -> list[float]:
        share = (np.clip(values, self.low, self.high) - self.low) / (self.high - self.low)
        return _rounded(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM))


def _rounded(places: npt.NDArray[np.float64]) -> list[float]:
    found: list[float] = np.round(places, 1).tolist()
    return found


def draw(picture: Picture, theme: Theme = "auto") -> str:
    """The picture as SVG, 760 by 300. `auto` follows the viewer's preference, where it has one. O(points)."""
    frame = _frame(picture)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' role="img" aria-labelledby="title desc">',
        f'<title id="title">{_text(picture.title)}</title><desc id="desc">{_text(_described(picture))}</desc>',
        f"<style>{_style(theme)}</style>",
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="16" y="22">{_text(_cut(picture.title, 96))}</text>',
        f'<text class="faint" x="16" y="39">{_text(_cut(picture.subtitle, 120))}</text>',
        *_spans(picture, frame),
        *_axes(picture, frame),
        *_band(picture, frame),
        *_limit(picture, frame),
        f'<path class="line" d="{_line(picture, frame)}"/>',
        *_peaks(picture, frame),
        *_marks(picture, frame),
        "</svg>",
    ]
    return "".join(parts)


def _style(theme: Theme) -> str:
    def variables(name: str) -> str:
        return ";".join(f"--{part}:{colour}" for part, colour in _COLOURS[name].items())

    shown = f"svg{{{variables('dark' if theme == 'dark' else 'light')}}}"
    if theme == "auto":
        shown += f"@media(prefers-color-scheme:dark){{svg{{{variables('dark')}}}}}"
    return (
        shown
        + "text{font:12px system-ui,sans-serif;fill:var(--text)}.title{font-weight:600;font-size:14px}"
        + ".faint{fill:var(--faint)}.back{fill:var(--back)}.grid{stroke:var(--grid);stroke-width:1}"
        + ".band{fill:var(--band)}.line{fill:none;stroke:var(--line);stroke-width:1.8;stroke-linejoin:round;"
        + "stroke-linecap:round}"
        + ".expected{fill:none;stroke:var(--line);stroke-width:1;stroke-dasharray:2 3;opacity:.7}"
        + ".span{fill:var(--bad);opacity:.14}.peak{fill:var(--bad);stroke:var(--back);stroke-width:1.5}"
        + ".limit{stroke:var(--limit);stroke-dasharray:6 4;stroke-width:1.2}.limit-text{fill:var(--limit)}"
        + ".mark{stroke:var(--event);stroke-dasharray:3 3}.mark-text{fill:var(--event)}"
    )


def _described(picture: Picture) -> str:
    values = [point.value for point in picture.points if point.value is not None]
    if not values:
        return "no data"
    found = f"{picture.said(min(values))} to {picture.said(max(values))}; anomalies: {len(picture.anomalies)}"
    return f"{picture.subtitle}. {found}"


def _frame(picture: Picture) -> _Frame:
    start, end = picture.start.timestamp(), picture.end.timestamp()
    values = [point.value for point in picture.points if point.value is not None]
    values += [point.expected for point in picture.points if point.expected is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = _BAND_MOST * (high - low)
    bounds = [bound for point in picture.points for bound in (point.lower, point.upper) if bound is not None]
    if picture.limit is not None and values:
        far = _LIMIT_MOST * max(high - low, abs(low), abs(high))
        if low - far <= picture.limit <= high + far:
            low, high = min(low, picture.limit), max(high, picture.limit)
    low, high = max(min([low, *bounds]), low - room), min(max([high, *bounds]), high + room)
    if 0 <= low < 0.4 * high:
        low = 0.0
    size = max(abs(low), abs(high))
    if high - low <= max(1e-12 * size, _TINY):
        room = size if size > _TINY else 1.0
        low, high = low - room, high + room
    return _Frame(start, max(end, start + 1e-3), low, high + 0.05 * (high - low))


def _axes(picture: Picture, frame: _Frame) -> Iterator[str]:
    for value in _nice(frame.low, frame.high):
        y = frame.y(value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield (
            f'<text class="faint" text-anchor="end" x="{_LEFT - 8}" y="{y + 4:.1f}">'
            f"{_text(picture.said(value))}</text>"
        )
    for time, label in _moments(picture.start, picture.end):
        yield f'<text class="faint" text-anchor="middle" x="{frame.x(time)}" y="{HEIGHT - 12}">{label}</text>'


def _nice(low: float, high: float) -> list[float]:
    """Some four round numbers in [low, high]."""
    rough = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def _moments(start: datetime, end: datetime) -> list[tuple[datetime, str]]:
    """At most seven round moments in UTC, and what they are called."""
    step = next((each for each in _STEPS if (end - start) / each <= _TICKS), _STEPS[-1])
    size = step.total_seconds()
    first = math.ceil(start.timestamp() / size)
    form = "%b %d" if size >= 86_400 else "%H:%M" if size >= 60 else "%H:%M:%S"
    found = (datetime.fromtimestamp(n * size, UTC) for n in range(first, math.floor(end.timestamp() / size) + 1))
    return [(time, time.strftime(form)) for time in found]


def _runs(picture: Picture, known: Callable[[Point], bool]) -> list[list[Point]]:
    """The points that are known, broken where there is a gap."""
    points = [point for point in picture.points if known(point)]
    steps = sorted(after.time - before.time for before, after in pairwise(points))
    most = _GAP * steps[len(steps) // 2] if steps else timedelta()
    runs: list[list[Point]] = []
    for point in points:
        if not runs or point.time - runs[-1][-1].time > most:
            runs.append([])
        runs[-1].append(point)
    return runs


def _path(frame: _Frame, run: Sequence[tuple[datetime, float]]) -> str:
    # A lone point is a line to itself: its round ends show it.
    times, values = zip(*run, strict=True)
    places = [f"{x} {y}" for x, y in zip(frame.xs(times), frame.ys(values), strict=True)]
    return "M" + "L".join(places if len(places) > 1 else places * 2)


def _line(picture: Picture, frame: _Frame) -> str:
    runs = _runs(picture, lambda point: point.value is not None)
    return "".join(_path(frame, [(p.time, p.value) for p in run if p.value is not None]) for run in runs)


def _band(picture: Picture, frame: _Frame) -> Iterator[str]:
    for run in _runs(picture, lambda point: point.lower is not None and point.upper is not None):
        upper = [(p.time, p.upper) for p in run if p.upper is not None]
        lower = [(p.time, p.lower) for p in reversed(run) if p.lower is not None]
        yield f'<path class="band" d="{_path(frame, upper)}L{_path(frame, lower)[1:]}Z"/>'
        expected = [(p.time, p.expected) for p in run if p.expected is not None]
        if expected:
            yield f'<path class="expected" d="{_path(frame, expected)}"/>'


def _spans(picture: Picture, frame: _Frame) -> Iterator[str]:
    for span in picture.anomalies:
        left, right = frame.x(span.onset), frame.x(span.end or picture.end)
        width = max(right - left, 2.0)
        yield f'<rect class="span" x="{left}" y="{_TOP}" width="{width:.1f}" height="{HEIGHT - _TOP - _BOTTOM}"/>'


def _peaks(picture: Picture, frame: _Frame) -> Iterator[str]:
    for span in picture.anomalies:
        if picture.start <= span.peak_at <= picture.end:
            said = _text(picture.said(span.peak))
            yield (
                f'<circle class="peak" cx="{frame.x(span.peak_at)}" cy="{frame.y(span.peak)}" r="4">'
                f"<title>{said}</title></circle>"
            )


def _limit(picture: Picture, frame: _Frame) -> Iterator[str]:
    if picture.limit is not None and frame.low <= picture.limit <= frame.high:
        y = frame.y(picture.limit)
        yield f'<line class="limit" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield (
            f'<text class="limit-text" text-anchor="end" x="{WIDTH - _RIGHT}" y="{y - 5:.1f}">'
            f"{_text(f'{picture.limit_name} {picture.said(picture.limit)}')}</text>"
        )


def _marks(picture: Picture, frame: _Frame) -> Iterator[str]:
    for mark in picture.marks:
        if picture.start <= mark.time <= picture.end:
            x = frame.x(mark.time)
            side = ' text-anchor="end"' if x > WIDTH / 2 else ""
            at = x - 4 if x > WIDTH / 2 else x + 4
            yield f'<line class="mark" x1="{x}" x2="{x}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
            yield f'<text class="mark-text"{side} x="{at:.1f}" y="{_TOP + 10}">{_text(_cut(mark.label, 40))}</text>'


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _text(text: str) -> str:
    # XML knows no control characters, and no lone surrogates.
    return escape("".join(each if each.isprintable() else " " for each in text))
