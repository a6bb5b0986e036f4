"""The kinds of jobs that a worker knows. A new one is a `Kind` and a line here."""

from collections.abc import Mapping
from typing import Any

from plumbline_analysis.backtests.kind import BACKTEST
from plumbline_analysis.jobs.kind import Kind
from plumbline_analysis.objectives import judge
from plumbline_analysis.what_if.kind import WHAT_IF

KINDS: Mapping[str, Kind[Any, Any]] = {kind.name: kind for kind in (BACKTEST, WHAT_IF)}


def prepare() -> None:
    """In each process before its first job: have the kernels compiled."""
    judge.prepare()
