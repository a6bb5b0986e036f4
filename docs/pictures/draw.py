"""Draws the pictures of docs/detection.md from series made here: `python docs/pictures/draw.py`."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection.backtest import Backtest, Raised
from plumbline_analysis.pictures import Picture, Point, Span, draw

HERE = Path(__file__).parent
START = datetime(2026, 3, 2, tzinfo=UTC)
STEP = timedelta(minutes=5)
DAY = 288


def series(days: int, seed: int) -> npt.NDArray[np.float64]:
    """Requests a second with a daily season, one value each five minutes."""
    random = np.random.default_rng(seed)
    time = np.arange(days * DAY)
    usual = 60 - 40 * np.cos(2 * np.pi * time / DAY) + 8 * np.cos(4 * np.pi * time / DAY)
    return np.asarray(usual + 3 * random.standard_normal(len(time)), np.float64)


def moment(at: int) -> datetime:
    return START + timedelta(microseconds=at - int(START.timestamp() * 1e6))


def span_of(raised: Raised) -> Span:
    end = moment(raised.last) if raised.ended else None
    return Span(moment(raised.onset), end, moment(raised.peak.at), raised.peak.value)


def picture(name: str, title: str, subtitle: str, values: npt.NDArray[np.float64], shown: slice) -> None:
    """One of the series with band and alarms, and one of its score."""
    times = [START + number * STEP for number in range(len(values))]
    backtest = Backtest()
    found, _ = backtest.add([int(time.timestamp() * 1e6) for time in times], values)
    judgements = found.rows()
    window = times[shown][0], times[shown][-1]
    spans = [span for span in map(span_of, backtest.alarms) if window[0] <= span.onset <= window[1]]
    points = [
        Point(time, value, *(each if each == each else None for each in judgement[:3]))
        for time, value, judgement in zip(times, values.tolist(), judgements, strict=True)
    ][shown]
    write(name, Picture(title, subtitle, *window, points, lambda value: f"{value:.3g}/s", spans))
    scores = [Point(time, each.score if each.score == each.score else None) for time, each in
              zip(times, judgements, strict=True)][shown]  # fmt: skip
    said = "1 alarms; it fades while an event lasts"
    score = Picture("Its score", said, *window, scores, number(1), limit=1.0, limit_name="bar")
    write(f"{name}-score", score)


def number(digits: int) -> Callable[[float], str]:
    return lambda value: f"{value:.{digits}f}"


def write(name: str, shown: Picture) -> None:
    (HERE / f"{name}.svg").write_text(draw(shown) + "\n")


def main() -> None:
    values = series(8, 1)
    values[6 * DAY + 40] += 45  # a spike at 03:20, to a value that is usual at noon
    values[7 * DAY + 120 : 7 * DAY + 156] *= 0.55  # three hours of fewer requests
    picture(
        "season", "A daily season, a spike at night and a dip by day",
        "each value is usual at another time of the day: the band knows the time",
        values, slice(5 * DAY, 8 * DAY),
    )  # fmt: skip

    values = series(6, 2)
    values[5 * DAY + 100 : 5 * DAY + 140] = values[5 * DAY + 99]
    picture(
        "frozen", "A series that freezes", "no value is unusual, but it varies less than ever before",
        values, slice(4 * DAY + 144, 6 * DAY),
    )  # fmt: skip

    values = np.random.default_rng(3).normal(20, 1, 4 * DAY)
    values[3 * DAY :] += 15
    picture(
        "level", "A new level", "one alarm; the band follows within some hundred points",
        values, slice(2 * DAY + 144, 4 * DAY),
    )  # fmt: skip


if __name__ == "__main__":
    main()
