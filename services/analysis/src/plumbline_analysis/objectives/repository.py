"""The SQL of evaluation: what is watched, how far it has been judged, and the running totals.

Every function takes many requirements or objectives at once: a round costs the same few statements for one as for
fifty.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.detection.streams import Judgement
from plumbline_analysis.models import (
    Detector,
    ObjectiveSlice,
    Signal,
    TrackedObjective,
    WatchedRequirement,
)
from plumbline_analysis.moments import moment
from plumbline_analysis.objectives.rules import Counts
from plumbline_analysis.signals.repository import BAR_OF_SIGNAL
from plumbline_analysis.sources.batch import Kind, Temporality
from plumbline_common import db

_SAID = 4
"""Of a judgement that is kept: expected, lower, upper, score."""


# --- What is watched ----------------------------------------------------------------------------------------


async def in_force(session: AsyncSession) -> list[WatchedRequirement]:
    """The requirements that production is held against, and that say how."""
    return await db.detached(session, WatchedRequirement, "WHERE in_force AND slos <> '[]'::jsonb ORDER BY id")


_ABANDONED = (
    "SELECT traces.id FROM ("
    " SELECT requirement_id AS id FROM objectives UNION SELECT requirement_id FROM detectors"
    " UNION SELECT requirement_id FROM current_verdicts) AS traces LEFT JOIN watched_requirements AS watched"
    " ON watched.id = traces.id AND watched.in_force AND watched.slos <> '[]'::jsonb WHERE watched.id IS NULL"
)


async def abandoned(session: AsyncSession) -> list[UUID]:
    """The requirements that have been evaluated and are no longer in force."""
    return [row["id"] for row in await db.fetch(session, _ABANDONED)]


_UNCHANGED = (
    "SELECT id, revision, updated_at FROM watched_requirements WHERE id = ANY($1::uuid[]) AND in_force"
    " ORDER BY id FOR SHARE"
)


async def unchanged(session: AsyncSession, requirements: Iterable[WatchedRequirement]) -> set[UUID]:
    """Which of them still stand as they were read; those can't change until the transaction ends."""
    read = {each.id: (each.revision, each.updated_at) for each in requirements}
    rows = await db.fetch(session, _UNCHANGED, list(read))
    return {id for id, *standing in rows if read[id] == tuple(standing)}


async def tracked(
    session: AsyncSession, requirements: Sequence[UUID]
) -> dict[tuple[UUID, str, int], TrackedObjective]:
    rows = await db.detached(session, TrackedObjective, "WHERE requirement_id = ANY($1::uuid[])", requirements)
    return {(row.requirement_id, row.slo, row.objective): row for row in rows}


@dataclass(frozen=True)
class DetectorState:
    """A detector as it was left: since when and until when it has judged, its state and alarm."""

    since: datetime
    evaluated_to: datetime
    state: bytes
    alarm: dict[str, Any]


@dataclass(frozen=True)
class Indicator:
    """The derived signal of an SLO with its detector's state and bar; `detector` is None where none watches it."""

    number: int
    id: UUID
    identity: bytes
    unit: str
    requirement_id: UUID | None
    detector: DetectorState | None
    bar: float


_INDICATORS = (
    "SELECT number, id, identity, unit, signals.requirement_id, watching_since, evaluated_to, state,"  # noqa: S608 (constants)
    " alarm,"
    f" {BAR_OF_SIGNAL} AS bar"
    " FROM signals LEFT JOIN detectors ON signal = number WHERE signals.requirement_id = ANY($1::uuid[])"
)


async def indicators(session: AsyncSession, requirements: Sequence[UUID]) -> dict[bytes, Indicator]:
    """The indicators that the requirements have or have had, by identity."""
    found = {}
    for row in await db.fetch(session, _INDICATORS, requirements):
        number, id, identity, unit, requirement_id, since, *state, bar = row
        detector = None if since is None else DetectorState(since, *state)
        found[identity] = Indicator(number, id, identity, unit, requirement_id, detector, bar)
    return found


async def add_indicator(session: AsyncSession, **members: Any) -> tuple[int, UUID]:
    signal = Signal(
        id=db.new_id(),
        source="plumbline",
        kind=Kind.INDICATOR,
        temporality=Temporality.NONE,
        monotonic=False,
        scope="",
        resource={},
        **members,
    )
    session.add(signal)
    await session.flush()
    return signal.number, signal.id


# --- Units ------------------------------------------------------------------------------------------------


async def add_objective(session: AsyncSession, **members: Any) -> int:
    objective = TrackedObjective(**members)
    session.add(objective)
    await session.flush()
    return objective.number


_SAVE_OBJECTIVES = (
    "UPDATE objectives SET definition = saved.definition, evaluated_to = saved.evaluated_to,"
    " last_point = saved.last_point, standing = saved.standing::jsonb"
    " FROM unnest($1::bigint[], $2::bytea[], $3::timestamptz[], $4::timestamptz[], $5::text[])"
    " AS saved (number, definition, evaluated_to, last_point, standing) WHERE objectives.number = saved.number"
)


async def save_objectives(
    session: AsyncSession, rows: Sequence[tuple[int, bytes, datetime, datetime | None, str]]
) -> None:
    """Number, definition, evaluated to, last point, standing (JSON) of each."""
    if rows:
        await db.fetch(session, _SAVE_OBJECTIVES, *zip(*rows, strict=True))


async def forget_slices(session: AsyncSession, objectives: Sequence[int]) -> None:
    if objectives:
        await session.execute(delete(ObjectiveSlice).where(ObjectiveSlice.objective.in_(objectives)))


async def drop_objectives(session: AsyncSession, numbers: Sequence[int]) -> None:
    if numbers:
        await forget_slices(session, numbers)
        await session.execute(delete(TrackedObjective).where(TrackedObjective.number.in_(numbers)))


@dataclass(frozen=True)
class Totals:
    """The running totals of an objective at the ends of its slices in (after, until]; slices without units are left
    out."""

    objective: int
    after: datetime
    until: datetime
    ends: Sequence[datetime]
    good: Sequence[float]
    total: Sequence[float]


_CLEAR_SLICES = (
    "DELETE FROM objective_slices AS old"
    " USING unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[]) AS span (objective, after, until)"
    " WHERE old.objective = span.objective AND old.ts > span.after AND old.ts <= span.until AND NOT EXISTS ("
    "  SELECT FROM unnest($4::bigint[], $5::timestamptz[]) AS kept (objective, ts)"
    "  WHERE kept.objective = old.objective AND kept.ts = old.ts)"
)
_SAVE_SLICES = (
    "INSERT INTO objective_slices (objective, ts, good, total)"
    " SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::float[], $4::float[])"
    " ON CONFLICT (objective, ts) DO UPDATE SET good = excluded.good, total = excluded.total"
    # Most slices are as they were found before: writing them again would only make dead rows.
    " WHERE (objective_slices.good, objective_slices.total) <> (excluded.good, excluded.total)"
)


async def save_slices(session: AsyncSession, totals: Sequence[Totals]) -> None:
    """Make these running totals the only ones in their spans."""
    if not totals:
        return
    spans = zip(*((each.objective, each.after, each.until) for each in totals), strict=True)
    kept = [each.objective for each in totals for _ in each.ends]
    ends = [end for each in totals for end in each.ends]
    await db.fetch(session, _CLEAR_SLICES, *spans, kept, ends)
    if ends:
        good = [good for each in totals for good in each.good]
        total = [total for each in totals for total in each.total]
        await db.fetch(session, _SAVE_SLICES, kept, ends, good, total)


_TOTALS = (
    "SELECT coalesce(slice.good, 0), coalesce(slice.total, 0)"
    " FROM unnest($1::bigint[], $2::timestamptz[]) WITH ORDINALITY AS asked (objective, moment, place)"
    " LEFT JOIN LATERAL (SELECT good, total FROM objective_slices WHERE objective = asked.objective"
    "  AND ts <= asked.moment ORDER BY ts DESC LIMIT 1) AS slice ON true ORDER BY asked.place"
)


async def running_totals(session: AsyncSession, asked: Sequence[tuple[int, datetime]]) -> list[Counts]:
    """The units of each objective up to each moment, since its counting began."""
    if not asked:
        return []
    return [Counts(*row) for row in await db.fetch(session, _TOTALS, *zip(*asked, strict=True))]


_PRUNE = text(
    "DELETE FROM objective_slices AS old USING objectives WHERE objectives.number = old.objective"
    " AND objectives.requirement_id = :requirement AND objectives.slo = :slo AND old.ts < ("
    "  SELECT max(ts) FROM objective_slices WHERE objective = old.objective AND ts <= :before)"
)


async def prune_slices(session: AsyncSession, requirement_id: UUID, slo: str, before: datetime) -> None:
    """Drop running totals that no window reaches any more. The newest of them stays: it is where windows begin."""
    await session.execute(_PRUNE, {"requirement": requirement_id, "slo": slo, "before": before})


# --- Detectors ----------------------------------------------------------------------------------------------

DetectorRow = tuple[int, UUID, str, datetime, datetime, bytes | None, str]
"""The signal, requirement, SLO, since when it watches, until when it has judged, its state, its alarm in JSON."""

_SAVE_DETECTORS = (
    "INSERT INTO detectors (signal, requirement_id, slo, watching_since, evaluated_to, state, alarm)"
    " SELECT signal, requirement_id, slo, watching_since, evaluated_to, state, alarm::jsonb"
    " FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bytea[],"
    "  $7::text[]) AS saved (signal, requirement_id, slo, watching_since, evaluated_to, state, alarm)"
    " ON CONFLICT (signal) DO UPDATE SET evaluated_to = excluded.evaluated_to, state = excluded.state,"
    "  alarm = excluded.alarm"
)
_SAVE_DETECTIONS = (
    "INSERT INTO detections (signal, ts, value, expected, lower, upper, score) SELECT *"
    " FROM unnest($1::bigint[], $2::timestamptz[], $3::float[], $4::float[], $5::float[], $6::float[], $7::float[])"
    " ON CONFLICT DO NOTHING"
)


async def save_detectors(session: AsyncSession, rows: Sequence[DetectorRow]) -> None:
    if rows:
        await db.fetch(session, _SAVE_DETECTORS, *zip(*rows, strict=True))


async def save_detections(session: AsyncSession, judged: Sequence[tuple[int, int, float, Judgement]]) -> None:
    """What was said of the points of indicators: the signal, when (microseconds), the value, the judgement."""
    rows = [
        (number, moment(at), value, *(said if said == said else None for said in judgement[:_SAID]))
        for number, at, value, judgement in judged
    ]
    if rows:
        await db.fetch(session, _SAVE_DETECTIONS, *zip(*rows, strict=True))


async def drop_detectors(session: AsyncSession, numbers: Sequence[int]) -> None:
    if numbers:
        await session.execute(delete(Detector).where(Detector.signal.in_(numbers)))


async def forget(session: AsyncSession, requirement_id: UUID) -> None:
    """Drop the state of a requirement that is no longer evaluated; anomalies and past verdicts stay."""
    numbers = select(TrackedObjective.number).where(TrackedObjective.requirement_id == requirement_id)
    await session.execute(delete(ObjectiveSlice).where(ObjectiveSlice.objective.in_(numbers)))
    await session.execute(delete(TrackedObjective).where(TrackedObjective.requirement_id == requirement_id))
    await session.execute(delete(Detector).where(Detector.requirement_id == requirement_id))
