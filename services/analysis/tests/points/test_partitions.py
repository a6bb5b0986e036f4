import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from plumbline_analysis.background import Maintenance
from plumbline_analysis.models import LOG_TABLES, POINT_TABLES
from plumbline_analysis.points import partitions
from plumbline_analysis.settings import Settings
from plumbline_common import db

OLD = date(2020, 1, 1)


async def days(sessions: db.Sessions) -> set[date]:
    async with sessions() as session:
        return set((await partitions.existing(session, POINT_TABLES)).values())


async def maintain(sessions: db.Sessions, first: date, last: date, before: date) -> None:
    async with sessions.begin() as session:
        await partitions.maintain(session, POINT_TABLES, first, last, before)


async def test_every_day_that_telemetry_may_name_has_its_tables(sessions: db.Sessions, settings: Settings) -> None:
    now = datetime.now(UTC)
    first = (now - timedelta(hours=settings.past_limit_hours)).date()
    wanted = {first + timedelta(days=n) for n in range((now.date() - first).days + 3)}
    assert wanted <= await days(sessions)


async def test_days_after_their_retention_are_dropped_with_their_points(sessions: db.Sessions) -> None:
    await maintain(sessions, OLD, OLD + timedelta(days=1), date.min)
    async with sessions.begin() as session:
        await session.execute(text("INSERT INTO number_points VALUES (1, '2020-01-01 12:00Z', 'epoch', 1)"))
    await maintain(sessions, OLD + timedelta(days=1), OLD + timedelta(days=1), OLD + timedelta(days=1))
    assert OLD not in await days(sessions)
    assert OLD + timedelta(days=1) in await days(sessions)
    async with sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM number_points"))).scalar_one() == 0
    await maintain(sessions, date(2026, 1, 1), date(2025, 1, 1), OLD + timedelta(days=2))


async def test_a_partition_of_several_days_goes_when_all_of_them_are_over(sessions: db.Sessions) -> None:
    table = ("number_rollups_1m",)

    async def weeks(first: date, last: date, before: date) -> list[date]:
        async with sessions.begin() as session:
            await partitions.maintain(session, table, first, last, before, days=7)
            return sorted(day for day in (await partitions.existing(session, table)).values() if day.year < 2021)

    first = date(2019, 12, 26)  # a whole number of weeks after 1970-01-01
    assert await weeks(OLD, OLD + timedelta(days=8), date.min) == [first, first + timedelta(days=7), date(2020, 1, 9)]
    nothing = (date(2026, 1, 1), date(2025, 1, 1))
    assert await weeks(*nothing, date(2020, 1, 8)) == [first + timedelta(days=7), date(2020, 1, 9)]
    assert await weeks(*nothing, date(2021, 1, 1)) == []


async def test_several_processes_may_maintain_at_once(sessions: db.Sessions) -> None:
    span = (OLD + timedelta(days=10), OLD + timedelta(days=14))
    await asyncio.gather(*(maintain(sessions, *span, date.min) for _ in range(4)))
    assert len([day for day in await days(sessions) if day < date(2021, 1, 1)]) == 5
    await maintain(sessions, date(2026, 1, 1), date(2025, 1, 1), date(2021, 1, 1))


async def test_writers_go_on_while_a_day_is_added(sessions: db.Sessions) -> None:
    async with sessions.begin() as writer:
        await writer.execute(text("INSERT INTO number_points VALUES (1, now(), 'epoch', 1)"))
        await asyncio.wait_for(maintain(sessions, OLD, OLD, date.min), 2)
    await maintain(sessions, date(2026, 1, 1), date(2025, 1, 1), date(2021, 1, 1))


async def test_the_service_is_not_ready_without_them(sessions: Any, settings: Settings) -> None:
    maintenance = Maintenance(sessions, settings)
    with pytest.raises(RuntimeError, match="partitions"):
        await maintenance.check()
    await maintenance.once()
    await maintenance.check()


async def test_logs_are_kept_for_days_of_their_own(sessions: db.Sessions, settings: Settings) -> None:
    async with sessions.begin() as session:
        await partitions.maintain(session, LOG_TABLES, OLD, OLD, date.min)
    await Maintenance(sessions, settings).once()
    async with sessions() as session:
        kept = set((await partitions.existing(session, LOG_TABLES)).values())
    today = datetime.now(UTC).date()
    assert min(kept) >= today - timedelta(days=settings.log_retention_days)
    assert {today - timedelta(days=1), today, today + timedelta(days=1)} <= kept


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT make_partition('signals', 'signals_20200101', '2020-01-01', 1)",
        "SELECT make_partition('pg_class', 'pg_class_20200101', '2020-01-01', 1)",
        "SELECT make_partition('number_points', 'signals', '2020-01-01', 1)",
        "SELECT drop_partition('signals')",
        "SELECT drop_partition('number_points')",
        "SELECT drop_partition('none')",
        "DROP TABLE number_points",
        "UPDATE alembic_version SET version_num = '0001'",
    ],
)
async def test_the_service_has_partitions_made_and_dropped_and_nothing_else(
    sessions: db.Sessions, statement: str
) -> None:
    with pytest.raises(DBAPIError, match=r"not a partition|not a table with partitions|exists|owner|permission"):
        async with sessions.begin() as session:
            await session.execute(text(statement))
