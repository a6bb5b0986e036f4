"""The units of objectives, written down as running totals."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import WatchedRequirement
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.objectives import repository
from plumbline_analysis.objectives.gather import SloWork, Work
from plumbline_analysis.objectives.judge import Judged
from plumbline_analysis.objectives.measure import Part
from plumbline_analysis.objectives.repository import Totals
from plumbline_analysis.objectives.rules import Standing
from plumbline_common.schemas import Objective, Slo, VerdictState


@dataclass(frozen=True)
class Counted:
    """An objective whose new units are stored. `end` and `last_point` in microseconds; `last_point` is None where
    nothing was ever heard of its signals."""

    number: int
    requirement: WatchedRequirement
    part: Part
    place: int
    """Of the objective in its part."""
    definition: bytes
    end: int
    last_point: int | None
    standing: Standing

    @property
    def slo(self) -> Slo:
        return self.part.slo

    @property
    def index(self) -> int:
        """The place of the objective in its SLO."""
        return self.part.first + self.place

    @property
    def objective(self) -> Objective:
        return self.slo.objectives[self.place]


async def count(session: AsyncSession, works: Sequence[Work], judged: Sequence[Sequence[Judged]]) -> list[Counted]:
    """Store the running totals of all new slices, and of those that late points changed."""
    counted: list[Counted] = []
    totals: list[Totals] = []
    anew: list[int] = []
    for work, results in zip(works, judged, strict=True):
        for slo, result in zip(work.slos, results, strict=True):
            for index in range(len(slo.plan.part.slo.objectives)):
                each = await _counted(session, work, slo, index)
                counted.append(each)
                totals += _totals(each.number, slo, result, index)
                if slo.plan.continued[index] is None:
                    anew.append(each.number)
    await repository.forget_slices(session, anew)
    await repository.save_slices(session, totals)
    await repository.drop_objectives(session, [number for work in works for number in work.dropped])
    return counted


async def _counted(session: AsyncSession, work: Work, slo: SloWork, index: int) -> Counted:
    stored, continued = slo.plan.stored[index], slo.plan.continued[index]
    part = slo.plan.part
    definition = slo.plan.definitions[index]
    end, latest = slo.plan.grids[index].end, slo.request.points.latest
    if continued is not None:
        end = max(end, micros(continued.evaluated_to))
        if continued.last_point is not None:
            latest = max(latest or 0, micros(continued.last_point))
    if stored is not None:
        number = stored.number
    else:
        number = await repository.add_objective(
            session,
            requirement_id=work.requirement.id,
            slo=part.slo.name,
            objective=part.first + index,
            definition=definition,
            evaluated_to=moment(end),
            standing=asdict(Standing()),
        )
    standing = Standing() if stored is None else _standing(stored.standing)
    return Counted(number, work.requirement, part, index, definition, end, latest, standing)


def _standing(stored: dict[str, Any]) -> Standing:
    state, candidate = (VerdictState(stored[name]) if stored[name] else None for name in ("state", "candidate"))
    return Standing(state, candidate, stored["held"], stored.get("reached", 0.0), stored.get("paged", False))


def _totals(number: int, slo: SloWork, judged: Judged, index: int) -> list[Totals]:
    grid, before = slo.plan.grids[index], slo.before[index]
    if grid.count == 0:
        return []
    good, total = judged.measured.units[index]
    kept = np.flatnonzero(total != 0)
    return [
        Totals(
            objective=number,
            after=moment(grid.start),
            until=moment(grid.end),
            ends=[moment(end) for end in grid.ends[kept].tolist()],
            good=(before.good + np.cumsum(good))[kept].tolist(),
            total=(before.total + np.cumsum(total))[kept].tolist(),
        )
    ]


async def save(session: AsyncSession, counted: Sequence[tuple[Counted, Standing]]) -> None:
    """How far each objective has been evaluated, and where it stands."""
    await repository.save_objectives(
        session,
        [
            (
                each.number,
                each.definition,
                moment(each.end),
                None if each.last_point is None else moment(each.last_point),
                orjson.dumps(asdict(standing)).decode(),
            )
            for each, standing in counted
        ],
    )
