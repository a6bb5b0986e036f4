from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from plumbline_analysis.anomalies.explanation import explain
from plumbline_analysis.detection.alarm import Peak
from plumbline_common.schemas import MovedSeries, PrecedingDeployment

ONSET = datetime(2026, 5, 1, 12, tzinfo=UTC)
TITLE = "Latency of shop rose to 612 ms; expected 21 ms (12 ms–48 ms)"


def peak(*members: float, value: float = 0.612, expected: float = 0.021) -> Peak:
    return Peak(1, 2.0, value, expected, 0.012, 0.048, members)


def moved(metric: str, before: float, after: float, unit: str = "1", aggregation: str = "mean") -> MovedSeries:
    return MovedSeries(metric=metric, aggregation=aggregation, unit=unit, before=before, after=after, deviations=9.0)


def deployed(minutes: float) -> PrecedingDeployment:
    return PrecedingDeployment(
        id=UUID(int=1),
        service="shop",
        version="2.3.1",
        environment=None,
        deployed_at=ONSET - timedelta(minutes=minutes),
    )


def test_one_sentence_says_what_came_who_saw_it_what_else_moved_and_what_was_deployed() -> None:
    found = explain(
        TITLE,
        peak(1.2, 0.0, 0.3, 0.5),
        0.4,
        [moved("process.cpu.utilization", 0.2, 0.95), moved("orders", 40, 12.5, "{order}", "rate")],
        [deployed(4)],
        ONSET,
    )
    assert found.sentence == (
        f"{TITLE}; it passed the objective's threshold and the value itself is far from what is usual at this time."
        " At the same time mean of process.cpu.utilization rose from 20 % to 95 % and rate of orders fell from"
        " 40 order/s to 12.5 order/s. Before it shop 2.3.1 was deployed (4 min earlier)."
    )
    assert [(each.member, each.share) for each in found.members] == [
        ("departure", 0.6),
        ("novelty", 0.25),
        ("variation", 0.15),
    ]


def test_a_detector_that_was_learning_saw_nothing_by_its_members() -> None:
    found = explain(TITLE, peak(), 0.4, [], [], ONSET)
    assert (found.sentence, found.members) == (f"{TITLE}; it passed the objective's threshold.", [])


def test_without_anything_around_it_the_sentence_ends_with_what_was_seen() -> None:
    assert explain(TITLE, peak(), None, [], [], ONSET).sentence == f"{TITLE}."
    level = explain(TITLE, peak(0.1, 2.0, 0.0, 0.0), None, [], [], ONSET)
    assert level.sentence == f"{TITLE}; its level has moved for some time."


@pytest.mark.parametrize(
    ("limit", "value", "expected", "passed"),
    [(0.4, 0.612, 0.021, True), (0.7, 0.612, 0.021, False), (0.01, 0.612, 0.021, False), (99, 90, 120, True)],
)
def test_a_threshold_is_passed_from_either_side(limit: float, value: float, expected: float, passed: bool) -> None:
    found = explain(TITLE, peak(value=value, expected=expected), limit, [], [], ONSET)
    assert ("threshold" in found.sentence) is passed


def test_many_series_are_all_kept_and_three_are_named() -> None:
    found = explain(TITLE, peak(), None, [moved(f"queue.{n}", 1, 9, "") for n in range(5)], [deployed(0.5)], ONSET)
    assert len(found.moved) == 5
    assert "queue.2" in found.sentence
    assert "queue.3" not in found.sentence
    assert "(less than a minute earlier)" in found.sentence
