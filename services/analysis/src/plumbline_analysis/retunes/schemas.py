"""What a retune is asked and what it answers."""

from uuid import UUID

from plumbline_analysis.backtests.schemas import BacktestQuality
from plumbline_analysis.detectors.schemas import DAYS, Days, DetectorProposal, Reason
from plumbline_analysis.jobs.schemas import JobContent
from plumbline_common.schemas import Schema


class RetuneContent(JobContent):
    """Propose a bar by the labels of the last `days`, and measure it there."""

    days: Days = DAYS
    apply: bool = False
    """Whether to set the bar that is proposed. Without it nothing changes."""
    reason: Reason | None = None
    """What the change of the bar is noted with."""


class RetuneParameters(RetuneContent):
    """What a worker is given: the same of one signal."""

    signal_id: UUID


class RetuneResult(Schema):
    proposal: DetectorProposal
    now: BacktestQuality | None
    """How good the alarms of that time are by the present bar, as far as people's labels say; null without labels,"""
    then: BacktestQuality | None
    """and by the bar that is proposed."""
    applied_revision: int | None
    """The detector's revision that has the bar; null where none was set, as nobody asked or it is the present one."""
