"""Points read back from PostgreSQL."""

import time
from datetime import timedelta

from sqlalchemy import select

from plumbline_analysis.models import Signal
from plumbline_analysis.moments import moment
from plumbline_analysis.points import reading, service
from plumbline_analysis.points.directory import Directory
from plumbline_analysis.series.histograms import Point
from plumbline_analysis.settings import Settings
from plumbline_analysis.sources import remote_write
from plumbline_common import db
from prometheus import sample, series, snappy, write_request


async def test_a_histogram_whose_bounds_were_changed_goes_on_with_the_new_ones(
    sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings
) -> None:
    newer = int(time.time()) - 60
    older = newer - int(reading.GONE.total_seconds()) - 60
    every = []
    for bounds, at in ((("0.1", "1", "+Inf"), older), (("0.25", "1", "+Inf"), newer)):
        for le, value in zip(bounds, (90.0, 99.0, 100.0), strict=True):
            labels = {"__name__": "wait_seconds_bucket", "job": "shop", "le": le}
            every.append(series(labels, [sample(value, at * 1000)]))
    known, body = Directory(), snappy(write_request(*every))
    found, _ = service.read_write(remote_write.decode_v1, body, "snappy", settings, known)
    async with sessions.begin() as session:
        await service.store(session, found, known)

    async def read(at: int) -> list[Point]:
        async with read_sessions() as session:
            buckets = [reading.info(each) for each in await session.scalars(select(Signal))]
            until = moment(at * 1_000_000)
            found = await reading.points(session, buckets, until - timedelta(seconds=10), until)
        return list(found.histograms)

    for at, bounds in ((older, (0.1, 1.0)), (newer, (0.25, 1.0))):
        (point,) = await read(at)
        assert (point.layout.bounds, point.counts) == (bounds, (90, 9, 1))


async def test_a_bucket_that_has_not_come_yet_is_waited_for(
    sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings
) -> None:
    at = int(time.time()) - 60
    every = []
    for le, times in (("0.1", (at - 15,)), ("1", (at - 15, at)), ("+Inf", (at - 15, at))):
        labels = {"__name__": "wait_seconds_bucket", "job": "shop", "le": le}
        every.append(series(labels, [sample(5.0, each * 1000) for each in times]))
    known, body = Directory(), snappy(write_request(*every))
    found, _ = service.read_write(remote_write.decode_v1, body, "snappy", settings, known)
    async with sessions.begin() as session:
        await service.store(session, found, known)
    async with read_sessions() as session:
        buckets = [reading.info(each) for each in await session.scalars(select(Signal))]
        until = moment(at * 1_000_000)
        assert (await reading.points(session, buckets, until - timedelta(seconds=10), until)).histograms == []
