from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from plumbline_analysis.points import reading
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_analysis.signals import history
from plumbline_analysis.sources.batch import Kind, Temporality
from plumbline_common.errors import Invalid

GAUGE = SignalInfo(1, "", Kind.GAUGE, Temporality.NONE, False)
SIGNALS = {1: GAUGE}
START = datetime(2026, 11, 1, tzinfo=UTC)


def day(*times: int) -> Points:
    columns = (np.array(each, np.int64) for each in ([1] * len(times), times, [0] * len(times)))
    return Points(SIGNALS, *columns, np.array(times, np.float64))


def test_days_are_one_series_and_the_point_that_two_share_is_taken_once() -> None:
    whole = history.joined(SIGNALS, [day(10, 20), day(20, 30, 40)])
    assert whole.time.tolist() == [10, 20, 30, 40]
    assert whole.value.tolist() == [10.0, 20.0, 30.0, 40.0]
    assert history.joined(SIGNALS, []).time.tolist() == []


async def test_days_are_read_one_by_one_up_to_as_many_points_as_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[datetime, datetime]] = []

    async def points(session: Any, signals: Any, after: datetime, until: datetime) -> Points:
        asked.append((after, until))
        return day(len(asked))

    monkeypatch.setattr(reading, "points", points)
    end = START + timedelta(days=2, hours=1)
    found = await history.points(None, [GAUGE], START, end, 3)  # type: ignore[arg-type]
    assert found.time.tolist() == [1, 2, 3]
    assert [until - after for after, until in asked] == [timedelta(days=1), timedelta(days=1), timedelta(hours=1)]
    with pytest.raises(Invalid, match="more than 2 points"):
        await history.points(None, [GAUGE], START, end, 2)  # type: ignore[arg-type]
