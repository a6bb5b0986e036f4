"""Store a file of history, each slice in a transaction of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import date
from typing import IO

import numpy as np
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from plumbline_analysis.models import POINT_TABLES
from plumbline_analysis.moments import moment
from plumbline_analysis.points import partitions, resolution
from plumbline_analysis.points import service as points
from plumbline_analysis.points.directory import Directory
from plumbline_analysis.points.limits import QuotaSpent
from plumbline_analysis.points.resolution import Resolved
from plumbline_analysis.settings import Settings
from plumbline_analysis.sources import history
from plumbline_analysis.sources.batch import Window
from plumbline_analysis.sources.history import Defaults, Slice
from plumbline_analysis.uploads.schemas import Progress, RefusedLine, Totals, Waiting
from plumbline_common import db, offload, problems
from plumbline_common.errors import PlumblineError, Unavailable
from plumbline_common.schemas import Schema

CSV = "text/csv"
_DAY = 86_400_000_000
"""In microseconds."""
MAX_LISTED = 1_000
_SIGN_OF_LIFE = 10
"""Seconds between two lines while the upload waits: longer silences end connections."""


def begin(source: IO[bytes], media_type: str, defaults: Defaults, settings: Settings) -> Iterator[Slice]:
    """The slices of a file. Raises `Invalid` where its header is not one. Blocking, as what it gives."""
    window = Window.around(time.time(), 24.0 * settings.retention_days, settings.future_limit_minutes)
    rows = history.csv_rows(source, defaults) if media_type == CSV else history.json_rows(source)
    return history.slices(source, rows, defaults, window)


async def store(sessions: db.Sessions, slices: Iterator[Slice], known: Directory) -> AsyncIterator[Schema]:
    """What becomes of the file, line by line of the answer. What progress tells of is durable."""
    done = Progress(bytes=0, stored=0, refused=0)
    unlisted = 0
    days: set[date] = set()
    try:
        while (part := await offload.in_thread(next, slices, None)) is not None:
            await _make_partitions(sessions, part, days)
            found = await offload.in_thread(resolution.resolve, part.batch, known)
            async for waiting in _store(sessions, found, known):
                yield waiting
            refused = _refused(part, found)
            for each in refused[: max(0, MAX_LISTED - done.refused)]:
                yield each
            done = Progress(
                bytes=part.end, stored=done.stored + part.batch.accepted, refused=done.refused + len(refused)
            )
            unlisted = max(0, done.refused - MAX_LISTED)
            yield done
        yield Totals(totals=done, unlisted=unlisted)
    except PlumblineError as error:
        yield Totals(totals=done, unlisted=unlisted, problem=problems.content_of(error))
    except (DBAPIError, PoolTimeout) as error:
        if not db.is_transient(error):
            raise
        refusal = Unavailable("the database did not answer in time; send the file again")
        yield Totals(totals=done, unlisted=unlisted, problem=problems.content_of(refusal))


async def _store(sessions: db.Sessions, found: Resolved, known: Directory) -> AsyncIterator[Waiting]:
    while True:
        try:
            async with sessions.begin() as session:
                await points.store(session, found, known)
            return
        except QuotaSpent as spent:
            left = spent.extra["retry_after"]
            while left > 0:
                yield Waiting(waiting=left, detail=spent.detail)
                await asyncio.sleep(min(left, _SIGN_OF_LIFE))
                left -= _SIGN_OF_LIFE


async def _make_partitions(sessions: db.Sessions, part: Slice, made: set[date]) -> None:
    """Those of the days of a slice; history may be older than what usually comes."""
    times = [block.time for block in part.batch.blocks]
    if not times:
        return
    begun = np.unique(np.concatenate(times) // _DAY).tolist()
    wanted = {moment(day * _DAY).date() for day in begun}
    if missing := wanted - made:
        async with sessions.begin() as session:
            for day in sorted(missing):
                await partitions.maintain(session, POINT_TABLES, day, day, expired_before=date.min)
        made |= missing


def _refused(part: Slice, found: Resolved) -> list[RefusedLine]:
    """In the order of their lines."""
    at_fault = [*part.faults]
    at_fault += [(part.places[block][point], reason) for block, point, reason in resolution.refusals(found)]
    return [RefusedLine(line=line, detail=detail) for line, detail in sorted(at_fault)]
