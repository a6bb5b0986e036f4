"""What a finding of logs says as an anomaly. Pure."""

from collections.abc import Mapping
from uuid import UUID, uuid5

from plumbline_analysis.anomalies.of_logs import Departure
from plumbline_analysis.logs.changes import Finding
from plumbline_analysis.logs.stream import Change, Judged
from plumbline_common.schemas import LogEvidence, LogShare

_NAMESPACE = UUID("5a3d0d5e-8f0a-5a4e-9d0b-3d4f6c1c7e21")

_MEASURES = {
    "new": ("count", "{record}"),
    "rate": ("count", "{record}"),
    "vanished": ("silence", "s"),
    "mix": ("divergence", "bit"),
}


def signal_id(service: str, change: Change) -> UUID:
    """The id of what departs: the lines of one template, or of all, by the kind of change."""
    kind, template = change
    return uuid5(_NAMESPACE, f"{kind}/{'' if template is None else template}/{service}")


def departure(service: str, finding: Finding, judged: Judged, ids: Mapping[int, UUID]) -> Departure:
    """`ids`: the templates' ids by the miner's."""
    seconds = (judged.end - judged.start) // 1_000_000
    evidence = LogEvidence(
        kind=finding.kind,
        template_id=ids.get(finding.template_id or 0),
        template=finding.template,
        examples=list(finding.examples),
        shares=[
            LogShare(
                template_id=ids.get(each.template_id), template=each.template, expected=each.expected, came=each.came
            )
            for each in finding.shares
        ],
        interval_seconds=seconds,
    )
    aggregation, unit = _MEASURES[finding.kind]
    vanished = finding.kind == "vanished"
    scale = seconds if vanished else 1
    return Departure(
        signal_id=signal_id(service, (finding.kind, finding.template_id)),
        service=service,
        aggregation=aggregation,
        unit=unit,
        direction="down" if vanished or finding.came < finding.expected else "up",
        # Silence began in the first of its intervals.
        onset=judged.start - (int(finding.came) - 1) * (judged.end - judged.start) if vanished else judged.start,
        peak_at=judged.end,
        score=finding.score,
        value=finding.came * scale,
        expected=finding.expected * scale,
        lower=finding.lower * scale,
        upper=finding.upper * scale,
        title=finding.sentence,
        evidence=evidence,
    )
