"""The SQL of detectors: what they are, what they said, and the revisions of their bars."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np
from sqlalchemy import ColumnElement, Double, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.detection.replay import History
from plumbline_analysis.detectors.rules import Labelled
from plumbline_analysis.models import Anomaly, Detector, DetectorRevision, Signal, WatchedRequirement
from plumbline_analysis.moments import micros
from plumbline_analysis.points import copy_format
from plumbline_analysis.signals.repository import BAR_OF_SIGNAL
from plumbline_common import db
from plumbline_common.errors import Invalid, NotFound
from plumbline_common.schemas import Label

MAX_POINTS = 500_000
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Found:
    """The detector of a signal, with its bar and what it is about."""

    signal: int
    identity: bytes
    unit: str
    detector: Detector
    requirement: WatchedRequirement
    revision: int
    bar: float


async def find(session: AsyncSession, signal_id: UUID) -> Found:
    """Raises `NotFound` where no detector watches the signal."""
    row = (
        await session.execute(
            select(
                Signal.number,
                Signal.identity,
                Signal.unit,
                Detector,
                WatchedRequirement,
                _newest(),
                literal_column(BAR_OF_SIGNAL, Double),
            )
            .join(Detector, Detector.signal == Signal.number)
            .join(WatchedRequirement, WatchedRequirement.id == Detector.requirement_id)
            .where(Signal.id == signal_id)
        )
    ).one_or_none()
    if row is None:
        raise NotFound(
            f"no detector watches a signal {signal_id}: one watches each indicator of a requirement in force"
        )
    return Found(row[0], bytes(row[1]), *row[2:])


def _newest() -> ColumnElement[int]:
    newest = select(func.max(DetectorRevision.revision)).where(DetectorRevision.signal == Signal.number)
    return func.coalesce(newest.scalar_subquery(), 0)


async def lock(session: AsyncSession, signal: int) -> int:
    """Hold the signal against others that set its detector's bar. The newest revision, 0 for none."""
    await session.execute(select(Signal.number).where(Signal.number == signal).with_for_update())
    return (await session.execute(select(_newest()).where(Signal.number == signal))).scalar_one()


async def label_counts(session: AsyncSession, signal_id: UUID) -> dict[str, int]:
    """How many of the signal's anomalies have which latest label."""
    rows = await session.execute(
        select(Anomaly.label, func.count())
        .where(Anomaly.signal_id == signal_id, Anomaly.label.is_not(None))
        .group_by(Anomaly.label)
    )
    return {str(label): count for label, count in rows}


async def labelled(session: AsyncSession, signal_id: UUID, since: datetime) -> list[Labelled]:
    """The labelled anomalies that begin at `since` or later, the oldest first."""
    rows = await session.execute(
        select(Anomaly.id, Anomaly.label, Anomaly.onset, Anomaly.end, Anomaly.peak_at)
        .where(Anomaly.signal_id == signal_id, Anomaly.label.is_not(None), Anomaly.onset >= since)
        .order_by(Anomaly.onset, Anomaly.id)
    )
    return [
        Labelled(row.id, Label(row.label), micros(row.onset), row.end and micros(row.end), micros(row.peak_at))
        for row in rows
    ]


_HISTORY = (
    f"SELECT {', '.join(copy_format.DETECTION_COLUMNS[:2])},"  # noqa: S608 (constants)
    f" {', '.join(f'''coalesce({name}, 'NaN')''' for name in copy_format.DETECTION_COLUMNS[2:])}"
    " FROM detections WHERE signal = $1::bigint AND ts > $2::timestamptz AND ts <= $3::timestamptz ORDER BY ts"
)


async def history(
    session: AsyncSession, signal: int, after: datetime, until: datetime, step: int, most: int = MAX_POINTS
) -> History:
    """What the detector said in (after, until]. Raises `Invalid` where that is more than `most` points."""
    connection = await db.driver(session)
    days = [copy_format.read_detections(copy_format.EMPTY)]
    points = 0
    # Day by day, as the table is divided: no statement takes long.
    while after < until:
        end = min(after + _DAY, until)
        data = io.BytesIO()
        await connection.copy_from_query(_HISTORY, signal, after, end, output=data, format="binary")
        days.append(copy_format.read_detections(data.getvalue()))
        points += len(days[-1][0])
        if points > most:
            raise Invalid(f"the history holds more than {most} points: ask for fewer days")
        after = end
    time, value, expected, lower, upper, score = (np.concatenate(column) for column in zip(*days, strict=True))
    return History(step, time, value, expected, lower, upper, score)


async def revisions(
    session: AsyncSession, signal: int, skip: int, limit: int
) -> tuple[Sequence[DetectorRevision], int]:
    """One page of the changes of a detector's bar, the newest first, and how many there are."""
    of_it = DetectorRevision.signal == signal
    total = await session.scalar(select(func.count()).select_from(DetectorRevision).where(of_it))
    rows = await session.scalars(
        select(DetectorRevision).where(of_it).order_by(DetectorRevision.revision.desc()).offset(skip).limit(limit)
    )
    return rows.all(), total or 0


async def save(session: AsyncSession, revision: DetectorRevision) -> None:
    session.add(revision)
    await session.flush()
