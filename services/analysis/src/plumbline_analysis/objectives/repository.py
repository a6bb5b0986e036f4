"""The SQL of evaluation: what is watched, how far it has been judged, and the running totals."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Double, bindparam, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.detection.univariate import Judgement
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
from plumbline_analysis.sources.batch import Kind, Temporality
from plumbline_common import db

_BAND = {"expected": None, "lower": None, "upper": None, "score": None}

# --- Who evaluates ----------------------------------------------------------------------------------------

_CLAIM = text(
    "INSERT INTO evaluator_lease (id, holder, token, until)"
    " VALUES (1, :holder, 1, clock_timestamp() + make_interval(secs => :seconds))"
    " ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, until = excluded.until,"
    "  token = evaluator_lease.token + (evaluator_lease.holder <> excluded.holder)::int"
    " WHERE evaluator_lease.holder = excluded.holder OR evaluator_lease.until < clock_timestamp() RETURNING token"
)


async def claim(session: AsyncSession, holder: UUID, seconds: float) -> int | None:
    """Take or keep the lease for so long; its token, or None while another process holds it."""
    row = (await session.execute(_CLAIM, {"holder": holder, "seconds": seconds})).one_or_none()
    return None if row is None else int(row.token)


async def release(session: AsyncSession, holder: UUID) -> None:
    """Let the next process take over at once."""
    await session.execute(
        text("UPDATE evaluator_lease SET until = clock_timestamp() WHERE holder = :holder"), {"holder": holder}
    )


async def still_holds(session: AsyncSession, holder: UUID, token: int) -> bool:
    """Whether the lease is still this holder's; nobody can take it until the transaction ends."""
    row = await session.execute(
        text("SELECT 1 FROM evaluator_lease WHERE holder = :holder AND token = :token FOR SHARE"),
        {"holder": holder, "token": token},
    )
    return row.first() is not None


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


async def unchanged(session: AsyncSession, requirement: WatchedRequirement) -> bool:
    """Whether the requirement still stands at this revision; it can't change until the transaction ends."""
    row = await session.execute(
        select(WatchedRequirement.id)
        .where(
            WatchedRequirement.id == requirement.id,
            WatchedRequirement.revision == requirement.revision,
            WatchedRequirement.updated_at == requirement.updated_at,
            WatchedRequirement.in_force,
        )
        .with_for_update(read=True)
    )
    return row.first() is not None


async def tracked(session: AsyncSession, requirement_id: UUID) -> dict[tuple[str, int], TrackedObjective]:
    rows = await session.scalars(select(TrackedObjective).where(TrackedObjective.requirement_id == requirement_id))
    return {(row.slo, row.objective): row for row in rows}


@dataclass(frozen=True)
class Indicator:
    """The derived signal of an SLO with its detector's state; no detector yet where `detector` is None."""

    number: int
    id: UUID
    identity: bytes
    unit: str
    detector: Detector | None


async def indicators(session: AsyncSession, requirement_id: UUID) -> list[Indicator]:
    """Those indicators of a requirement that a detector watches or has watched."""
    rows = await session.execute(
        select(Signal, Detector)
        .outerjoin(Detector, Detector.signal == Signal.number)
        .where(Signal.requirement_id == requirement_id)
    )
    return [Indicator(signal.number, signal.id, signal.identity, signal.unit, found) for signal, found in rows]


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


async def add_objective(session: AsyncSession, **members: Any) -> TrackedObjective:
    objective = TrackedObjective(**members)
    session.add(objective)
    await session.flush()
    return objective


async def forget_slices(session: AsyncSession, objectives: Sequence[int]) -> None:
    await session.execute(delete(ObjectiveSlice).where(ObjectiveSlice.objective.in_(objectives)))


_SAVE_SLICES = text(
    "INSERT INTO objective_slices (objective, ts, good, total)"
    " SELECT :objective, ts, good, total FROM unnest(:ts, :good, :total) AS slice (ts, good, total)"
    " ON CONFLICT (objective, ts) DO UPDATE SET good = excluded.good, total = excluded.total"
    # Most slices are as they were found before: writing them again would only make dead rows.
    " WHERE (objective_slices.good, objective_slices.total) <> (excluded.good, excluded.total)"
).bindparams(
    bindparam("ts", type_=ARRAY(db.timestamp())),
    bindparam("good", type_=ARRAY(Double)),
    bindparam("total", type_=ARRAY(Double)),
)
_CLEAR_SLICES = text(
    "DELETE FROM objective_slices WHERE objective = :objective AND ts > :after AND ts <= :until AND ts <> ALL(:ts)"
).bindparams(bindparam("ts", type_=ARRAY(db.timestamp())))


async def save_slices(
    session: AsyncSession,
    objective: int,
    after: datetime,
    until: datetime,
    ends: Sequence[datetime],
    good: Sequence[float],
    total: Sequence[float],
) -> None:
    """Make these running totals the only ones of the objective in (after, until]."""
    where = {"objective": objective, "after": after, "until": until, "ts": list(ends)}
    await session.execute(_CLEAR_SLICES, where)
    if ends:
        await session.execute(
            _SAVE_SLICES, {"objective": objective, "ts": list(ends), "good": list(good), "total": list(total)}
        )


_TOTALS = text(
    "SELECT coalesce(slice.good, 0) AS good, coalesce(slice.total, 0) AS total"
    " FROM unnest(:objectives, :moments) WITH ORDINALITY AS asked (objective, moment, place)"
    " LEFT JOIN LATERAL (SELECT good, total FROM objective_slices WHERE objective = asked.objective"
    "  AND ts <= asked.moment ORDER BY ts DESC LIMIT 1) AS slice ON true ORDER BY asked.place"
).bindparams(bindparam("objectives", type_=ARRAY(BigInteger)), bindparam("moments", type_=ARRAY(db.timestamp())))


async def running_totals(session: AsyncSession, asked: Sequence[tuple[int, datetime]]) -> list[Counts]:
    """The units of each objective up to each moment, since its counting began."""
    rows = await session.execute(
        _TOTALS, {"objectives": [each[0] for each in asked], "moments": [each[1] for each in asked]}
    )
    return [Counts(row.good, row.total) for row in rows]


async def prune_slices(session: AsyncSession, requirement_id: UUID, slo: str, before: datetime) -> None:
    """Drop running totals that no window reaches any more. The newest of them stays: it is where windows begin."""
    await session.execute(
        text(
            "DELETE FROM objective_slices AS old USING objectives WHERE objectives.number = old.objective"
            " AND objectives.requirement_id = :requirement AND objectives.slo = :slo AND old.ts < ("
            "  SELECT max(ts) FROM objective_slices WHERE objective = old.objective AND ts <= :before)"
        ),
        {"requirement": requirement_id, "slo": slo, "before": before},
    )


async def save_objective(session: AsyncSession, number: int, **members: Any) -> None:
    await session.execute(update(TrackedObjective).where(TrackedObjective.number == number).values(**members))


# --- Detectors ----------------------------------------------------------------------------------------------


async def save_detector(session: AsyncSession, **members: Any) -> None:
    statement = insert(Detector).values(**members)
    changed = {name: statement.excluded[name] for name in ("evaluated_to", "state", "alarm")}
    await session.execute(statement.on_conflict_do_update(index_elements=["signal"], set_=changed))


async def drop_detector(session: AsyncSession, number: int) -> None:
    await session.execute(delete(Detector).where(Detector.signal == number))


async def save_detections(session: AsyncSession, number: int, judged: Sequence[tuple[int, float, Judgement]]) -> None:
    """What was said of the points of an indicator: when (microseconds), its value, the judgement."""
    rows = [
        {"signal": number, "ts": moment(at), "value": value} | (_BAND if not judgement.known else asdict(judgement))
        for at, value, judgement in judged
    ]
    if rows:
        await session.execute(insert(Detection).on_conflict_do_nothing(), rows)


async def forget(session: AsyncSession, requirement_id: UUID) -> None:
    """Drop the state of a requirement that is no longer evaluated; anomalies and past verdicts stay."""
    numbers = select(TrackedObjective.number).where(TrackedObjective.requirement_id == requirement_id)
    await session.execute(delete(ObjectiveSlice).where(ObjectiveSlice.objective.in_(numbers)))
    await session.execute(delete(TrackedObjective).where(TrackedObjective.requirement_id == requirement_id))
    await session.execute(delete(Detector).where(Detector.requirement_id == requirement_id))
