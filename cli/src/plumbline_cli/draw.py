"""Pictures for a terminal: a series with its expected band, and a trace as a tree."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text
from rich.tree import Tree

_BLOCKS = "▁▂▃▄▅▆▇█"
_KINDS = {"SERVER": "cyan", "CLIENT": "blue", "PRODUCER": "magenta", "CONSUMER": "green"}


def shortened(points: Sequence[Mapping[str, Any]], width: int) -> list[Mapping[str, Any]]:
    """At most `width` points; of the points that fall into one place, the one furthest from its band stays."""
    if len(points) <= width:
        return list(points)
    places: list[list[Mapping[str, Any]]] = [[] for _ in range(width)]
    for number, point in enumerate(points):
        places[number * width // len(points)].append(point)
    return [max(place, key=lambda point: (point.get("score") or 0, point["value"])) for place in places if place]


def sparkline(points: Sequence[Mapping[str, Any]], width: int = 60) -> Text:
    """`value` of each point by height; red outside of the expected band, green within, dim where none is known."""
    shown = [point for point in shortened(points, width) if point["value"] is not None]
    if not shown:
        return Text("no points", style="dim")
    values = [float(point["value"]) for point in shown]
    low, high = min(values), max(values)
    line = Text()
    for point, value in zip(shown, values, strict=True):
        height = 0 if high == low else round((value - low) / (high - low) * (len(_BLOCKS) - 1))
        line.append(_BLOCKS[height], style=_style(point, value))
    return line


class Strip:
    """A series of any length in at most `width` places, an even number: of each stretch the point with the highest
    score."""

    def __init__(self, width: int) -> None:
        self.places: list[dict[str, Any]] = []
        self._width, self._each, self._room = width, 1, 0

    def add(self, value: float, lower: float | None, upper: float | None, score: float | None, alarm: bool) -> None:
        point = {"value": value, "lower": lower, "upper": upper, "score": score, "alarm": alarm}
        if self._room:
            self.places[-1] = _worse(self.places[-1], point)
            self._room -= 1
            return
        if len(self.places) == self._width:
            self.places = [_worse(*pair) for pair in zip(self.places[::2], self.places[1::2], strict=True)]
            self._each *= 2
        self.places.append(point)
        self._room = self._each - 1

    def marks(self) -> Text:
        """To be set under `sparkline(places)`: where an alarm was open."""
        return Text("".join("▲" if place["alarm"] else " " for place in self.places).rstrip(), style="bold red")


def _worse(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The point with the higher score, in alarm where either was."""
    worse = other if (other["score"] or 0) > (one["score"] or 0) else one
    worse["alarm"] = one["alarm"] or other["alarm"]
    return worse


def _style(point: Mapping[str, Any], value: float) -> str:
    lower, upper = point.get("lower"), point.get("upper")
    if lower is None or upper is None:
        return "dim"
    return "green" if lower <= value <= upper else "bold red"


def trace_tree(spans: Sequence[Mapping[str, Any]]) -> Tree:
    """The spans of one trace by parent, each with service, start (ms after the first) and duration (ms)."""
    by_id = {span["span_id"]: span for span in spans}
    children: dict[str | None, list[Mapping[str, Any]]] = {}
    for span in sorted(spans, key=lambda span: int(span["start"])):
        parent = span.get("parent_id")
        children.setdefault(parent if parent in by_id else None, []).append(span)
    began = min((int(span["start"]) for span in spans), default=0)
    tree = Tree(Text(f"trace {spans[0]['trace_id']}" if spans else "no spans", style="bold"))

    def grow(branch: Tree, parent: str | None) -> None:
        for span in children.get(parent, []):
            grow(branch.add(_span_line(span, began)), span["span_id"])

    grow(tree, None)
    return tree


def _span_line(span: Mapping[str, Any], began: int) -> Text:
    start, end = int(span["start"]), int(span["end"])
    line = Text()
    line.append(f"{span['service']} ", style="dim")
    line.append(str(span["name"]), style=_KINDS.get(str(span["kind"]).removeprefix("SPAN_KIND_"), ""))
    line.append(f"  +{(start - began) / 1e6:.1f} ms, {(end - start) / 1e6:.1f} ms", style="yellow")
    if str(span.get("status", "")).endswith("ERROR"):
        line.append("  failed", style="bold red")
    return line
