from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plumbline_analysis.pictures import HEIGHT, WIDTH, Mark, Picture, Point, Span, draw

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
STEP = timedelta(seconds=10)
SVG = "{http://www.w3.org/2000/svg}"


def at(number: float) -> datetime:
    return NOON + number * STEP


def picture(*points: Point, **members: Any) -> Picture:
    given = {"title": "Latency", "subtitle": "an hour", "start": NOON, "end": at(60), "said": "{:g}".format}
    return Picture(points=points, **(given | members))


def parts(drawn: str, name: str) -> list[ElementTree.Element]:
    """The elements of a class."""
    return [each for each in ElementTree.fromstring(drawn).iter() if each.get("class") == name]


def test_value_band_anomaly_limit_and_deployment_are_drawn() -> None:
    points = [Point(at(n), 20.0 + n % 3 + 60 * (30 <= n < 35), 21, 15, 27) for n in range(1, 60)]
    drawn = draw(
        picture(
            *points,
            anomalies=[Span(at(30), at(34), at(32), 82.0)],
            marks=[Mark(at(28), "shop 2.3.1")],
            limit=50.0,
        )
    )
    assert len(parts(drawn, "band")) == len(parts(drawn, "expected")) == 1
    (line,) = parts(drawn, "line")
    assert (line.get("d") or "").count("M") == 1
    (span,) = parts(drawn, "span")
    assert float(span.get("width") or 0) == pytest.approx(4 / 60 * (WIDTH - 88), abs=0.2)
    (peak,) = parts(drawn, "peak")
    assert peak.findtext(f"{SVG}title") == "82"
    assert [each.text for each in parts(drawn, "mark-text")] == ["shop 2.3.1"]
    assert [each.text for each in parts(drawn, "limit-text")] == ["objective 50"]


def test_a_gap_breaks_the_line_and_the_band() -> None:
    points = [Point(at(n), 20.0, 20, 10, 30) for n in (*range(1, 20), *range(40, 60))]
    drawn = draw(picture(*points))
    assert (parts(drawn, "line")[0].get("d") or "").count("M") == 2
    assert len(parts(drawn, "band")) == 2


def test_points_that_come_irregularly_are_one_line() -> None:
    points = [Point(at(n + 0.4 * (n % 2)), 20.0) for n in range(1, 50)]
    assert (parts(draw(picture(*points)), "line")[0].get("d") or "").count("M") == 1


def test_a_wide_band_does_not_make_the_values_flat() -> None:
    points = [Point(at(n), 20.0 + 4 * (n % 2), 22, -1e6, 1e6) for n in range(1, 60)]
    (line,) = parts(draw(picture(*points)), "line")
    heights = [float(place.split(" ")[1]) for place in (line.get("d") or "M")[1:].split("L")]
    assert max(heights) - min(heights) > HEIGHT / 5


@pytest.mark.parametrize(("limit", "shown"), [(50.0, True), (90.0, True), (2000.0, False), (-900.0, False)])
def test_an_objective_is_shown_where_it_does_not_make_the_values_flat(limit: float, shown: bool) -> None:
    points = [Point(at(n), 20.0) for n in range(1, 60)]
    assert bool(parts(draw(picture(*points, limit=limit)), "limit")) is shown


def test_what_people_wrote_is_shown_and_never_run() -> None:
    title = '</title><script>alert(1)</script> "&" \x00\x1b[31m'
    drawn = draw(picture(title=title, marks=[Mark(at(5), "<img src=x>")]))
    root = ElementTree.fromstring(drawn)
    assert not [each for each in root.iter() if each.tag.removeprefix(SVG) in ("script", "img")]
    assert (root.findtext(f"{SVG}title") or "").startswith("</title><script>")


@pytest.mark.parametrize(("theme", "dark"), [("light", 0), ("dark", 0), ("auto", 1)])
def test_themes(theme: Any, dark: int) -> None:
    drawn = draw(picture(Point(at(1), 1.0)), theme)
    assert drawn.count("prefers-color-scheme:dark") == dark
    assert ("#111827" in drawn) is (theme != "light")


def test_without_data_there_are_axes_and_it_says_so() -> None:
    root = ElementTree.fromstring(draw(picture()))
    assert root.findtext(f"{SVG}desc") == "no data"


@given(
    values=st.lists(st.none() | st.floats(-1e12, 1e12), max_size=60),
    band=st.floats(0, 1e12),
    seconds=st.floats(0.001, 86_400 * 400),
    limit=st.none() | st.floats(-1e12, 1e12),
)
@example(values=[5e-324], band=0.0, seconds=60.0, limit=None)
@example(values=[2e6, 1e-302], band=3.0, seconds=0.001, limit=None)
@example(values=[0.0, 1e-302], band=1e6, seconds=60.0, limit=None)
def test_any_series_gives_a_picture_within_its_bounds(
    values: list[float | None], band: float, seconds: float, limit: float | None
) -> None:
    step = timedelta(seconds=seconds / 60)
    points = [
        Point(NOON + n * step, value, value, *((None, None) if value is None else (value - band, value + band)))
        for n, value in enumerate(values)
    ]
    end = NOON + timedelta(seconds=seconds)
    peaks = [Span(point.time, None, point.time, point.value) for point in points[:3] if point.value is not None]
    root = ElementTree.fromstring(draw(picture(*points, start=NOON, end=end, limit=limit, anomalies=peaks)))
    for each in root.iter():
        for name, most in (("x", WIDTH), ("cx", WIDTH), ("y", HEIGHT), ("cy", HEIGHT)):
            if (place := each.get(name)) is not None:
                assert 0 <= float(place) <= most
    assert sum(each.get("text-anchor") == "middle" for each in root.iter()) <= 7
