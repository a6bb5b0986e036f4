"""The kinds of jobs that a worker knows. A new one is a `Kind` or a `Stepwise`, and a line here."""

import os
from collections.abc import Mapping

from plumbline_analysis.backfills.kind import BACKFILL
from plumbline_analysis.backtests.kind import BACKTEST
from plumbline_analysis.jobs.kind import AnyKind
from plumbline_analysis.log_mining.kind import LOG_MINING
from plumbline_analysis.objectives import judge
from plumbline_analysis.retunes.kind import RETUNE
from plumbline_analysis.what_if.kind import WHAT_IF

KINDS: Mapping[str, AnyKind] = {kind.name: kind for kind in (BACKTEST, WHAT_IF, BACKFILL, RETUNE, LOG_MINING)}


NICENESS = 10


def prepare() -> None:
    """In each process before its first job: leave the processors to whoever answers requests, where there are such on
    the machine, and have the kernels compiled."""
    os.nice(NICENESS)
    judge.prepare()
