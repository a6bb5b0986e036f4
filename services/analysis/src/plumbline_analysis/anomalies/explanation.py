"""Why an anomaly was raised and what surrounds it, in one structure and one sentence. Pure."""

from collections.abc import Sequence
from datetime import datetime

from plumbline_analysis.anomalies import rules
from plumbline_analysis.detection.alarm import Peak
from plumbline_analysis.detection.streams import Member
from plumbline_common.schemas import AnomalyExplanation, DetectorMember, MovedSeries, PrecedingDeployment

_SAW = {
    Member.DEPARTURE: "the value itself is far from what is usual at this time",
    Member.LEVEL: "its level has moved for some time",
    Member.VARIATION: "it varies more or less than usual",
    Member.NOVELTY: "it has never been like this",
}
_NAMED = 3
"""So many series are named in the sentence."""


def explain(
    title: str,
    peak: Peak,
    limit: float | None,
    moved: Sequence[MovedSeries],
    deployments: Sequence[PrecedingDeployment],
    onset: datetime,
) -> AnomalyExplanation:
    """`title` says what was expected and what came; `limit` is the objective's threshold."""
    members = _members(peak)
    reasons = ["it passed the objective's threshold"] if limit is not None and _passed(peak, limit) else []
    if members:
        reasons.append(_SAW[Member[members[0].member.upper()]])
    sentence = f"{title}; {' and '.join(reasons)}" if reasons else title
    if moved:
        sentence += f". At the same time {_listed([_moved(each) for each in moved[:_NAMED]])}"
    sentence += _preceded(deployments, onset)
    return AnomalyExplanation(sentence=sentence, members=members, moved=list(moved), deployments=list(deployments))


def explain_logs(title: str, deployments: Sequence[PrecedingDeployment], onset: datetime) -> AnomalyExplanation:
    """Of an anomaly of logs, whose title says what was expected and what came, and by which change it was seen."""
    sentence = title + _preceded(deployments, onset)
    return AnomalyExplanation(sentence=sentence, members=[], moved=[], deployments=list(deployments))


def _preceded(deployments: Sequence[PrecedingDeployment], onset: datetime) -> str:
    """The end of the sentence."""
    if not deployments:
        return "."
    return f". Before it {_listed([_deployed(each, onset) for each in deployments[:_NAMED]])}."


def _passed(peak: Peak, limit: float) -> bool:
    return (peak.expected < limit <= peak.value) or (peak.value <= limit < peak.expected)


def _members(peak: Peak) -> list[DetectorMember]:
    """What each member contributed, the most first; those that contributed nothing are left out."""
    total = sum(peak.members)
    if total <= 0:
        return []
    shares = sorted(zip(peak.members, Member, strict=True), key=lambda each: -each[0])
    return [
        DetectorMember(member=member.name.lower(), share=min(amount / total, 1.0))
        for amount, member in shares
        if amount > 0
    ]


def _moved(series: MovedSeries) -> str:
    verb = "rose" if series.after > series.before else "fell"
    unit = rules.unit_of(series.aggregation, series.unit)
    before, after = rules.quantity(series.before, unit), rules.quantity(series.after, unit)
    return f"{rules.measured(series.metric, series.aggregation)} {verb} from {before} to {after}"


def _deployed(deployment: PrecedingDeployment, onset: datetime) -> str:
    minutes = (onset - deployment.deployed_at).total_seconds() / 60
    ago = f"{minutes:.0f} min" if minutes >= 1 else "less than a minute"
    return f"{deployment.service} {deployment.version} was deployed ({ago} earlier)"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
