"""The engine over a whole history, and what only a whole history shows: seasons, discords, changes for good.

Pure and heavy on the CPU: to be run in a worker, or in a process of its own. `docs/backtest.md` has the methods,
their costs and limits.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection import changepoints, discords, grid, seasons
from plumbline_analysis.detection.changepoints import Changepoint
from plumbline_analysis.detection.discords import Discord
from plumbline_analysis.detection.seasons import Season
from plumbline_analysis.detection.streams import Engine, Judgements

SHORTEST = 60
"""Cells with a point: fewer are no history."""


@dataclass(frozen=True)
class Hindsight:
    """`step` in microseconds: the series was looked at in cells of that length, of `averaged` usual intervals each.
    `window` is the length of the discords in cells; 0 where the history is too short for any of it."""

    step: int
    averaged: int
    window: int
    seasons: tuple[Season, ...] = ()
    discords: tuple[Discord, ...] = ()
    changepoints: tuple[Changepoint, ...] = ()


def judge(at: npt.ArrayLike, values: npt.ArrayLike) -> Judgements:
    """What the engine says of each point of one series, shape (n,), as it would have said it when they came."""
    return Engine(1).run(np.zeros(np.shape(at), np.int64), at, values)


def look_back(at: npt.ArrayLike, values: npt.ArrayLike, window: int | None = None) -> Hindsight:
    """What points of one series, shape (n,), microseconds and values in any order, show together.

    NaN is a missing point. `window` is the length of discords in cells, by default a period of the shortest season.
    Some seconds at most, whatever n: see `grid.LONGEST`. Raises `ValueError` for arrays of different lengths, or a
    window of fewer than `discords.SHORTEST` cells.
    """
    if window is not None and window < discords.SHORTEST:
        raise ValueError(f"a window has at least {discords.SHORTEST} cells")
    cells = grid.grid(at, values)
    if np.count_nonzero(~np.isnan(cells.values)) < SHORTEST:
        return Hindsight(cells.step, cells.averaged, 0)
    periods, rest = seasons.found(cells)
    shortest = min((season.cells for season in periods), default=None)
    length = window or discords.window_of(len(cells.values), shortest)
    return Hindsight(
        cells.step,
        cells.averaged,
        length,
        periods,
        discords.found(cells, length),
        changepoints.found(cells, rest, shortest),
    )
