"""Points rolled up hour by hour: what is asked for afterwards is what the points themselves would say."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, text

from plumbline_analysis.models import LateHour, Signal
from plumbline_analysis.moments import micros
from plumbline_analysis.points import late, reading, resolution, service
from plumbline_analysis.points.directory import Directory
from plumbline_analysis.roller import Roller
from plumbline_analysis.rollups import repository
from plumbline_analysis.rollups import service as rollups
from plumbline_analysis.rollups.rules import HOUR, MINUTE
from plumbline_analysis.rollups.service import Overtaken
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.settings import Settings
from plumbline_analysis.signals import service as signals
from plumbline_analysis.signals.rules import Question
from plumbline_analysis.sources import batch
from plumbline_analysis.sources.batch import Batch, Head, Histogram, Kind, Layout, Temporality, Window
from plumbline_common import db
from plumbline_common.schemas import Aggregation

EVER = Window(0, 2**62, 0, 0)
HOURS = 4
T0 = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS + 1)
SECOND = 1_000_000
KINDS = {
    "counter": (Kind.SUM, Temporality.CUMULATIVE, True),
    "delta": (Kind.SUM, Temporality.DELTA, True),
    "gauge": (Kind.GAUGE, Temporality.NONE, False),
    "histogram": (Kind.HISTOGRAM, Temporality.CUMULATIVE, True),
}
NUMBERS: Sequence[Aggregation] = ("mean", "min", "max", "sum", "last", "rate")
HISTOGRAMS: Sequence[Aggregation] = (*NUMBERS, "p95")


class Shop:
    """Signals of each kind, a point every 50 s for four hours that are over and settled."""

    def __init__(self, sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings) -> None:
        self.sessions, self.read_sessions, self.settings = sessions, read_sessions, settings
        self.roller = Roller(sessions, read_sessions, settings, self.claim)
        self.random = np.random.default_rng(3)
        self.points = {metric: list(self.made(metric)) for metric in KINDS}

    async def claim(self) -> int | None:
        return 1

    def made(self, metric: str) -> Iterator[tuple[int, int, Any]]:
        """Start, time and value; the counters start again after 3 hours, the gauge is silent for two."""
        total = 0
        counts = np.zeros(3, np.int64)
        start = micros(T0) - SECOND
        for second in range(5, HOURS * 3600, 50):
            time = micros(T0) + second * SECOND
            if 3 * 3600 <= second < 3 * 3600 + 50:
                total, start, counts = 0, time - 5 * SECOND, counts * 0
            added = int(self.random.integers(0, 100))
            total += added
            counts = counts + self.random.integers(0, 50, 3)
            if metric == "gauge":
                if not 3600 < second < 3 * 3600:
                    yield 0, time, float(added)
            elif metric == "histogram":
                held = tuple(counts.tolist())
                yield start, time, Histogram(sum(held), sum(held) / 8, np.nan, np.nan, Layout((0.1, 0.2)), held)
            else:
                yield (start, time, float(total)) if metric == "counter" else (time - 50 * SECOND, time, float(added))

    async def send(self, metric: str, points: Sequence[tuple[int, int, Any]]) -> None:
        found = Batch()
        head = Head("otlp", metric, "1", *KINDS[metric], "", (("service.name", "shop"),))
        start, time = (np.array([each[column] for each in points], np.uint64) * 1000 for column in (0, 1))
        values = [each[2] for each in points]
        column = values if metric == "histogram" else np.array(values, np.float64)
        batch.add(found, EVER, head, dict, [()] * len(points), start, time, column)
        directory = Directory()
        async with self.sessions.begin() as session:
            await service.store(session, resolution.resolve(found, directory), directory)

    async def send_all(self, left_out: slice = slice(0, 0)) -> dict[str, list[tuple[int, int, Any]]]:
        """All points but some of each kind, which are answered."""
        kept = {}
        for metric, points in self.points.items():
            kept[metric] = points[left_out]
            gone = {each[1] for each in kept[metric]}
            await self.send(metric, [each for each in points if each[1] not in gone])
        return kept

    async def signal(self, metric: str) -> Signal:
        async with self.read_sessions() as session:
            return (await session.execute(select(Signal).where(Signal.metric == metric))).scalar_one()

    async def asked(self, step: int) -> dict[tuple[str, str], list[tuple[datetime, float]]]:
        """Every aggregation of every signal."""
        found = {}
        for metric in KINDS:
            signal = await self.signal(metric)
            for aggregation in HISTOGRAMS if metric == "histogram" else NUMBERS:
                question = Question(T0, T0 + timedelta(hours=HOURS), step, aggregation)
                async with self.read_sessions() as session:
                    answer = await signals.series_of(session, signal, question, self.settings)
                found[metric, aggregation] = [(each.time, each.value or 0.0) for each in answer.points]
        return found

    async def count(self, *tables: str) -> int:
        async with self.read_sessions() as session:
            return sum(
                [(await session.execute(text(f"SELECT count(*) FROM {each}"))).scalar_one() for each in tables]
            )

    async def forget_points(self) -> None:
        async with self.sessions.begin() as session:
            for table in ("number_points", "histogram_points", "detections"):
                await session.execute(text(f"DELETE FROM {table}"))


@pytest.fixture
def shop(sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings) -> Shop:
    return Shop(
        sessions,
        read_sessions,
        settings.model_copy(update={"evaluation_interval_seconds": 10, "past_limit_hours": HOURS + 2}),
    )


def same(found: dict[Any, list[tuple[datetime, float]]], expected: dict[Any, list[tuple[datetime, float]]]) -> None:
    assert found.keys() == expected.keys()
    for key, points in expected.items():
        assert [each[0] for each in found[key]] == [each[0] for each in points], key
        np.testing.assert_allclose([each[1] for each in found[key]], [each[1] for each in points], err_msg=str(key))


async def test_what_was_rolled_up_answers_as_its_points_did_and_outlives_them(shop: Shop) -> None:
    await shop.send_all()
    before = {step: await shop.asked(step) for step in (300, 3600)}
    assert all(before[3600].values())
    await shop.roller.once()
    for step, points in before.items():
        same(await shop.asked(step), points)
    await shop.forget_points()
    for step, points in before.items():
        same(await shop.asked(step), points)


async def test_late_points_are_rolled_up_into_their_hours_and_those_of_the_points_after_them(shop: Shop) -> None:
    # Just before an hour ends: the first increase of the next hour is another one then.
    late_points = await shop.send_all(slice(60, 72))
    await shop.roller.once()
    missing = await shop.asked(600)
    for metric, points in late_points.items():
        await shop.send(metric, points)
    await shop.roller.once()
    assert await shop.count("late_hours") == 0
    found = await shop.asked(600)
    assert found != missing
    await forget_rollups(shop)
    same(found, await shop.asked(600))


async def forget_rollups(shop: Shop) -> None:
    """So that the points answer."""
    async with shop.sessions.begin() as session:
        await session.execute(text("DELETE FROM rollup_progress"))


async def test_rolling_up_again_changes_nothing(shop: Shop) -> None:
    await shop.send_all()
    await shop.roller.once()
    tables = (MINUTE.numbers, MINUTE.histograms, HOUR.numbers, HOUR.histograms)
    before, count = await shop.asked(600), await shop.count(*tables)
    await shop.send_all()
    assert await shop.count("late_hours") > 0
    await shop.roller.once()
    assert (await shop.asked(600), await shop.count(*tables)) == (before, count)


async def test_a_crash_between_changes_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    late_points = await shop.send_all(slice(60, 72))
    await shop.roller.once()
    before = await shop.asked(600)
    await shop.send("counter", late_points["counter"])

    async def crash(*_: Any) -> None:
        raise ConnectionError("the process ends here")

    with monkeypatch.context() as broken:
        broken.setattr(repository, "save_histograms", crash)
        with pytest.raises(ConnectionError):
            await shop.roller.once()
    assert await shop.asked(600) == before
    await shop.roller.once()
    assert await shop.count("late_hours") == 0
    assert await shop.asked(600) != before


@pytest.mark.parametrize("is_late", [False, True])
async def test_of_two_processes_one_does_the_work(shop: Shop, is_late: bool) -> None:
    late_points = await shop.send_all(slice(60, 62))
    if is_late:
        await shop.roller.once()
        await shop.send("counter", late_points["counter"])
    else:
        async with shop.sessions.begin() as session:
            await rollups.begin(session, shop.settings, datetime.now(UTC))
    async with shop.read_sessions() as session:
        first, second = [await rollups.next_work(session, shop.settings, datetime.now(UTC)) for _ in range(2)]
    assert first is not None
    assert second is not None
    async with shop.sessions.begin() as session:
        await rollups.save(session, first, rollups.roll(first))
    with pytest.raises(Overtaken):
        async with shop.sessions.begin() as session:
            await rollups.save(session, second, rollups.roll(second))


async def test_points_that_an_open_transaction_may_still_store_are_waited_for(shop: Shop) -> None:
    async with shop.sessions.begin() as writer:
        began = (await writer.execute(text("SELECT now()"))).scalar_one()
        async with shop.read_sessions() as session:
            assert await repository.settled(session) <= began


async def test_timely_points_leave_no_mark(shop: Shop) -> None:
    now, old = micros(datetime.now(UTC)), micros(T0) + 7 * SECOND
    async with shop.sessions.begin() as session:
        await late.mark(session, np.array([1, 2], np.int64), np.array([now, now - SECOND], np.int64))
    assert await shop.count("late_hours") == 0
    async with shop.sessions.begin() as session:
        await late.mark(session, np.array([1, 2, 2], np.int64), np.array([now, old, old + SECOND], np.int64))
        (mark,) = (await session.execute(select(LateHour))).scalars().all()
    assert (mark.signal, mark.hour) == (2, T0 + timedelta(hours=1))


async def test_indicators_are_rolled_up_with_band_and_worst_score(shop: Shop) -> None:
    async with shop.sessions.begin() as session:
        await session.execute(
            text(
                "INSERT INTO signals (id, identity, source, metric, unit, kind, temporality, monotonic, scope,"
                " resource, attributes, aggregation, first_seen) VALUES (gen_random_uuid(), 'i', 'slo', 'latency',"
                " 's', 'indicator', 'none', false, '', '{}', '{}', 'p95', :start)"
            ),
            {"start": T0},
        )
        await session.execute(
            text(
                "INSERT INTO detections SELECT number, CAST(:start AS timestamptz) + n * interval '10 seconds',"
                " n % 7, CASE WHEN n > 30 THEN n % 5 END, CASE WHEN n > 30 THEN n % 3 END, n % 11, n % 13"
                " FROM signals, generate_series(1, 1440) AS n"
            ),
            {"start": T0},
        )
    signal = await shop.signal("latency")
    found = []
    for _ in range(2):
        for step in (120, 3600):
            question = Question(T0, T0 + timedelta(hours=HOURS), step)
            async with shop.read_sessions() as session:
                found.append((await signals.series_of(session, signal, question, shop.settings)).points)
        await shop.roller.once()
    assert len(found[0]) == 120
    for before, after in zip(found[:2], found[2:], strict=True):
        assert len(after) == len(before)
        for old, new in zip(before, after, strict=True):
            assert new.model_dump(exclude={"time"}) == pytest.approx(old.model_dump(exclude={"time"}))
            assert new.time == old.time


async def test_a_short_grid_reads_only_what_it_needs(shop: Shop) -> None:
    await shop.send_all()
    await shop.roller.once()
    signal = await shop.signal("counter")
    grid = Grid(micros(T0), MINUTE.step, 60)
    async with shop.read_sessions() as session:
        found = await rollups.parts(session, [reading.info(signal)], grid, MINUTE)
    assert (len(found.numbers[0]), len(found.points.time)) == (60, 0)
