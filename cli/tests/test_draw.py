from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from plumbline_cli import draw

values = st.floats(min_value=-1e6, max_value=1e6)


def point(value: float, lower: float | None = None, upper: float | None = None, score: float = 0) -> dict[str, Any]:
    return {"value": value, "lower": lower, "upper": upper, "score": score}


def test_height_follows_the_value_and_colour_the_band() -> None:
    line = draw.sparkline([point(0, 0, 1), point(7, 0, 1), point(3.5)])
    assert line.plain == "▁█▅"
    assert [str(span.style) for span in line.spans] == ["green", "bold red", "dim"]


@given(st.lists(values, max_size=300), st.integers(1, 100))
def test_a_line_is_never_wider_than_asked(series: list[float], width: int) -> None:
    shown = draw.shortened([point(value) for value in series], width)
    assert len(shown) <= width
    assert len(shown) == min(width, len(series))


def test_the_point_furthest_from_its_band_survives_shortening() -> None:
    series = [point(1) for _ in range(100)]
    series[41] = point(9, score=5)
    assert 9 in [each["value"] for each in draw.shortened(series, 10)]


def test_a_trace_is_drawn_by_its_parents() -> None:
    def span(id: str, parent: str | None, name: str, start: int) -> dict[str, Any]:
        return {"trace_id": "t", "span_id": id, "parent_id": parent, "service": "s", "name": name, "kind": "SERVER",
                "start": start, "end": start + 2_000_000, "status": "STATUS_CODE_UNSET"}  # fmt: skip

    tree = draw.trace_tree(
        [span("b", "a", "child", 1_000_000), span("a", None, "root", 0), span("c", "x", "orphan", 5)]
    )
    [root, orphan] = tree.children
    assert "root" in str(root.label)
    assert "child" in str(root.children[0].label)
    assert "+1.0 ms, 2.0 ms" in str(root.children[0].label)
    assert "orphan" in str(orphan.label)


@given(st.lists(st.tuples(values, st.floats(0, 9)), max_size=300), st.sampled_from([2, 8, 40]))
def test_a_strip_keeps_the_worst_points_in_bounded_places(series: list[tuple[float, float]], width: int) -> None:
    strip = draw.Strip(width)
    for value, score in series:
        strip.add(value, None, None, score, score >= 5)
    assert min(len(series), width // 2) <= len(strip.places) <= width
    assert max((place["score"] for place in strip.places), default=0) == max(
        (score for _, score in series), default=0
    )
    assert ("▲" in strip.marks().plain) == any(score >= 5 for _, score in series)
    assert len(strip.marks().plain) <= len(strip.places)
