"""What labels say about a detector, and what another bar would have changed. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from plumbline_analysis.detection import alarm, feedback, replay
from plumbline_analysis.detection.alarm import Alarm
from plumbline_analysis.detection.replay import History
from plumbline_common.schemas import Label


@dataclass(frozen=True)
class Labelled:
    """An anomaly with its latest label. Microseconds since the epoch; no `end` while it goes on."""

    id: UUID
    label: Label
    onset: int
    end: int | None
    peak_at: int

    def within(self, alarms: Sequence[Alarm]) -> bool:
        """Whether one of the alarms tells of it."""
        end = math.inf if self.end is None else self.end
        return any(each.onset <= end and self.onset <= each.last for each in alarms)


@dataclass(frozen=True)
class Change:
    """How many alarms two bars raise on one history, and which labelled anomalies the second keeps and loses."""

    now: int
    then: int
    kept: Sequence[Labelled]
    lost: Sequence[Labelled]


def propose(history: History, config: alarm.Config, labelled: Sequence[Labelled]) -> float:
    """The bar that the labels ask for. What the limit raises at any bar says nothing about it."""
    by_limit = replay.alarms(history, replace(config, bar=math.inf)) if config.limit is not None else []
    scores: dict[Label, list[float]] = {label: [] for label in Label}
    for each in labelled:
        score = history.score_at(each.peak_at)
        if not math.isnan(score) and not each.within(by_limit):
            scores[each.label].append(score)
    return feedback.propose(scores[Label.TRUE_POSITIVE], scores[Label.FALSE_POSITIVE], config.bar)


def change(history: History, config: alarm.Config, bar: float, labelled: Sequence[Labelled]) -> Change:
    """What `bar` changes, where the detector alarms by `config` now. O(points + labels * alarms)."""
    now, then = replay.alarms(history, config), replay.alarms(history, replace(config, bar=bar))
    kept = [each for each in labelled if each.within(then)]
    lost = [each for each in labelled if each.within(now) and not each.within(then)]
    return Change(len(now), len(then), kept, lost)
