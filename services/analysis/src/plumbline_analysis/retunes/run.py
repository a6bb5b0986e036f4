"""A retune: the bar that labels ask for, with its effect and quality on history beside the present one's. Pure."""

from dataclasses import dataclass, replace

from plumbline_analysis.backtests.run import Truth, Truths, quality
from plumbline_analysis.backtests.schemas import BacktestQuality
from plumbline_analysis.detection import alarm, replay
from plumbline_analysis.detectors.schemas import DetectorProposal
from plumbline_analysis.detectors.service import JudgedHistory, proposal
from plumbline_analysis.jobs.kind import Report, Step
from plumbline_analysis.retunes.schemas import RetuneResult
from plumbline_common.schemas import Label


@dataclass(frozen=True)
class Inputs:
    judged: JudgedHistory
    apply: bool
    reason: str | None


@dataclass(frozen=True)
class Change:
    """A bar that is to be set, and why."""

    proposal: DetectorProposal
    reason: str


def run(inputs: Inputs, report: Report) -> Step[Change | None]:
    """O(points + labels * alarms)."""
    report(0.1, "asks the labels for a bar")
    judged = inputs.judged
    found = proposal(judged, None)
    report(0.5, "measures it on history")
    is_change = inputs.apply and found.bar != judged.config.bar
    result = RetuneResult(
        proposal=found,
        now=_quality(judged, judged.config),
        then=_quality(judged, replace(judged.config, bar=found.bar)),
        applied_revision=found.revision + 1 if is_change else None,
    )
    change = Change(found, inputs.reason or _reason(judged)) if is_change else None
    return Step(change, result=result.model_dump(mode="json"))


def _quality(judged: JudgedHistory, config: alarm.Config) -> BacktestQuality | None:
    if not judged.labelled:
        return None
    known = [Truth(each.onset, each.end, each.label is Label.TRUE_POSITIVE) for each in judged.labelled]
    truths = Truths("feedback", known)
    raised = replay.raised(judged.history, config)
    return quality(raised, [truths.label(each.alarm) for each in raised], truths)


def _reason(judged: JudgedHistory) -> str:
    true = sum(each.label is Label.TRUE_POSITIVE for each in judged.labelled)
    return f"Retuned by {true} true and {len(judged.labelled) - true} false positives"
