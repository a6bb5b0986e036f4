"""The SQL of evaluation: what is watched, how far it has been judged, and the running totals.

Every function takes many requirements or objectives at once: a round costs the same few statements for one as for
fifty.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Double, LargeBinary, Text, Uuid, bindparam, delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.detection.streams import Judgement
from plumbline_analysis.models import (
    Detection,
    Detector,
    ObjectiveSlice,
    Signal,
    TrackedObjective,
    WatchedRequirement,
)
from plumbline_analysis.moments import moment
from plumbline_analysis.objectives.rules import Counts
from plumbline_analysis.signals.repository import bar_of_signal
from plumbline_analysis.sources.batch import Kind, Temporality
from plumbline_common import db

_SAID = ("expected", "lower", "upper", "score")


# --- What is watched ----------------------------------------------------------------------------------------


async def in_force(session: AsyncSession) -> Sequence[WatchedRequirement]:
    """The requirements that production is held against, and that say how."""
    rows = await session.execute(
        select(WatchedRequirement)
        .where(WatchedRequirement.in_force, WatchedRequirement.slos != text("'[]'::jsonb"))
        .order_by(WatchedRequirement.id)
    )
    return rows.scalars().all()


_ABANDONED = text(
    "SELECT traces.id FROM ("
    " SELECT requirement_id AS id FROM objectives UNION SELECT requirement_id FROM detectors"
    " UNION SELECT requirement_id FROM current_verdicts) AS traces LEFT JOIN watched_requirements AS watched"
    " ON watched.id = traces.id AND watched.in_force AND watched.slos <> '[]'::jsonb WHERE watched.id IS NULL"
)


async def abandoned(session: AsyncSession) -> list[UUID]:
    """The requirements that have been evaluated and are no longer in force."""
    return list(await session.scalars(_ABANDONED))


_UNCHANGED = text(
    "SELECT id, revision, updated_at FROM watched_requirements WHERE id = ANY(:ids) AND in_force"
    " ORDER BY id FOR SHARE"
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))


async def unchanged(session: AsyncSession, requirements: Iterable[WatchedRequirement]) -> set[UUID]:
    """Which of them still stand as they were read; those can't change until the transaction ends."""
    read = {each.id: (each.revision, each.updated_at) for each in requirements}
    rows = await session.execute(_UNCHANGED, {"ids": list(read)})
    return {row.id for row in rows if read[row.id] == (row.revision, row.updated_at)}


async def tracked(
    session: AsyncSession, requirements: Sequence[UUID]
) -> dict[tuple[UUID, str, int], TrackedObjective]:
    rows = await session.scalars(select(TrackedObjective).where(TrackedObjective.requirement_id.in_(requirements)))
    return {(row.requirement_id, row.slo, row.objective): row for row in rows}


@dataclass(frozen=True)
class Indicator:
    """The derived signal of an SLO with its detector's state and bar; `detector` is None where none watches it."""

    number: int
    id: UUID
    identity: bytes
    unit: str
    requirement_id: UUID | None
    detector: Detector | None
    bar: float


async def indicators(session: AsyncSession, requirements: Sequence[UUID]) -> dict[bytes, Indicator]:
    """The indicators that the requirements have or have had, by identity."""
    columns = (
        Signal.number,
        Signal.id,
        Signal.identity,
        Signal.unit,
        Signal.requirement_id,
        Detector,
        bar_of_signal(),
    )
    rows = await session.execute(
        select(*columns)
        .outerjoin(Detector, Detector.signal == Signal.number)
        .where(Signal.requirement_id.in_(requirements))
    )
    return {bytes(row[2]): Indicator(row[0], row[1], bytes(row[2]), *row[3:]) for row in rows}


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


_SAVE_OBJECTIVES = text(
    "UPDATE objectives SET definition = saved.definition, evaluated_to = saved.evaluated_to,"
    " last_point = saved.last_point, standing = saved.standing::jsonb"
    " FROM unnest(:numbers, :definitions, :evaluated_to, :last_points, :standings)"
    " AS saved (number, definition, evaluated_to, last_point, standing) WHERE objectives.number = saved.number"
).bindparams(
    bindparam("numbers", type_=ARRAY(BigInteger)),
    bindparam("definitions", type_=ARRAY(LargeBinary)),
    bindparam("evaluated_to", type_=ARRAY(db.timestamp())),
    bindparam("last_points", type_=ARRAY(db.timestamp())),
    bindparam("standings", type_=ARRAY(Text)),
)


async def save_objectives(
    session: AsyncSession, rows: Sequence[tuple[int, bytes, datetime, datetime | None, str]]
) -> None:
    """Number, definition, evaluated to, last point, standing (JSON) of each."""
    if rows:
        names = ("numbers", "definitions", "evaluated_to", "last_points", "standings")
        await session.execute(_SAVE_OBJECTIVES, dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


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


_CLEAR_SLICES = text(
    "DELETE FROM objective_slices AS old USING unnest(:objectives, :after, :until) AS span (objective, after, until)"
    " WHERE old.objective = span.objective AND old.ts > span.after AND old.ts <= span.until AND NOT EXISTS ("
    "  SELECT FROM unnest(:kept, :ts) AS kept (objective, ts)"
    "  WHERE kept.objective = old.objective AND kept.ts = old.ts)"
).bindparams(
    bindparam("objectives", type_=ARRAY(BigInteger)),
    bindparam("after", type_=ARRAY(db.timestamp())),
    bindparam("until", type_=ARRAY(db.timestamp())),
    bindparam("kept", type_=ARRAY(BigInteger)),
    bindparam("ts", type_=ARRAY(db.timestamp())),
)
_SAVE_SLICES = text(
    "INSERT INTO objective_slices (objective, ts, good, total) SELECT * FROM unnest(:kept, :ts, :good, :total)"
    " ON CONFLICT (objective, ts) DO UPDATE SET good = excluded.good, total = excluded.total"
    # Most slices are as they were found before: writing them again would only make dead rows.
    " WHERE (objective_slices.good, objective_slices.total) <> (excluded.good, excluded.total)"
).bindparams(
    bindparam("kept", type_=ARRAY(BigInteger)),
    bindparam("ts", type_=ARRAY(db.timestamp())),
    bindparam("good", type_=ARRAY(Double)),
    bindparam("total", type_=ARRAY(Double)),
)


async def save_slices(session: AsyncSession, totals: Sequence[Totals]) -> None:
    """Make these running totals the only ones in their spans."""
    kept = [each.objective for each in totals for _ in each.ends]
    ends = [end for each in totals for end in each.ends]
    spans = {
        "objectives": [each.objective for each in totals],
        "after": [each.after for each in totals],
        "until": [each.until for each in totals],
    }
    await session.execute(_CLEAR_SLICES, spans | {"kept": kept, "ts": ends})
    values = {
        "good": [good for each in totals for good in each.good],
        "total": [total for each in totals for total in each.total],
    }
    if ends:
        await session.execute(_SAVE_SLICES, values | {"kept": kept, "ts": ends})


_TOTALS = text(
    "SELECT coalesce(slice.good, 0) AS good, coalesce(slice.total, 0) AS total"
    " FROM unnest(:objectives, :moments) WITH ORDINALITY AS asked (objective, moment, place)"
    " LEFT JOIN LATERAL (SELECT good, total FROM objective_slices WHERE objective = asked.objective"
    "  AND ts <= asked.moment ORDER BY ts DESC LIMIT 1) AS slice ON true ORDER BY asked.place"
).bindparams(bindparam("objectives", type_=ARRAY(BigInteger)), bindparam("moments", type_=ARRAY(db.timestamp())))


async def running_totals(session: AsyncSession, asked: Sequence[tuple[int, datetime]]) -> list[Counts]:
    """The units of each objective up to each moment, since its counting began."""
    if not asked:
        return []
    rows = await session.execute(
        _TOTALS, {"objectives": [each[0] for each in asked], "moments": [each[1] for each in asked]}
    )
    return [Counts(row.good, row.total) for row in rows]


_PRUNE = text(
    "DELETE FROM objective_slices AS old USING objectives WHERE objectives.number = old.objective"
    " AND objectives.requirement_id = :requirement AND objectives.slo = :slo AND old.ts < ("
    "  SELECT max(ts) FROM objective_slices WHERE objective = old.objective AND ts <= :before)"
)


async def prune_slices(session: AsyncSession, requirement_id: UUID, slo: str, before: datetime) -> None:
    """Drop running totals that no window reaches any more. The newest of them stays: it is where windows begin."""
    await session.execute(_PRUNE, {"requirement": requirement_id, "slo": slo, "before": before})


# --- Detectors ----------------------------------------------------------------------------------------------

_DETECTOR = insert(Detector)
_SAVE_DETECTOR = _DETECTOR.on_conflict_do_update(
    index_elements=["signal"],
    set_={name: _DETECTOR.excluded[name] for name in ("evaluated_to", "state", "alarm")},
)
_SAVE_DETECTIONS = insert(Detection).on_conflict_do_nothing()


async def save_detectors(session: AsyncSession, rows: list[dict[str, Any]]) -> None:
    if rows:
        await session.execute(_SAVE_DETECTOR, rows)


async def save_detections(session: AsyncSession, judged: Sequence[tuple[int, int, float, Judgement]]) -> None:
    """What was said of the points of indicators: the signal, when (microseconds), the value, the judgement."""
    rows = [
        {"signal": number, "ts": moment(at), "value": value}
        | {name: said if said == said else None for name, said in zip(_SAID, judgement, strict=False)}
        for number, at, value, judgement in judged
    ]
    if rows:
        await session.execute(_SAVE_DETECTIONS, rows)


async def drop_detectors(session: AsyncSession, numbers: Sequence[int]) -> None:
    if numbers:
        await session.execute(delete(Detector).where(Detector.signal.in_(numbers)))


async def forget(session: AsyncSession, requirement_id: UUID) -> None:
    """Drop the state of a requirement that is no longer evaluated; anomalies and past verdicts stay."""
    numbers = select(TrackedObjective.number).where(TrackedObjective.requirement_id == requirement_id)
    await session.execute(delete(ObjectiveSlice).where(ObjectiveSlice.objective.in_(numbers)))
    await session.execute(delete(TrackedObjective).where(TrackedObjective.requirement_id == requirement_id))
    await session.execute(delete(Detector).where(Detector.requirement_id == requirement_id))
