from uuid import uuid4

import numpy as np
import pytest

from plumbline_analysis.detection import alarm
from plumbline_analysis.detection.replay import History
from plumbline_analysis.detectors.rules import Labelled
from plumbline_analysis.detectors.service import JudgedHistory
from plumbline_analysis.moments import moment
from plumbline_analysis.retunes.run import Inputs, run
from plumbline_analysis.retunes.schemas import RetuneResult
from plumbline_common.schemas import Label

STEP = 10_000_000
START = 1_790_000_000_000_000
APART = 20


def judged(*, true: tuple[float, ...] = (), false: tuple[float, ...] = (), bar: float = 1.0) -> JudgedHistory:
    """Two slices of each of these scores, calm ones between, and what people say of them."""
    scores = [(score, Label.TRUE_POSITIVE) for score in true] + [(score, Label.FALSE_POSITIVE) for score in false]
    count = APART * (len(scores) + 1)
    time = START + STEP * np.arange(count, dtype=np.int64)
    score = np.full(count, 0.1)
    labelled = []
    for number, (peak, label) in enumerate(scores, 1):
        place = APART * number
        score[place : place + 2] = peak
        onset, end = int(time[place]), int(time[place + 1])
        labelled.append(Labelled(uuid4(), label, onset, end, onset))
    value = np.where(score > 0.5, 300.0, 100.0)
    expected, lower, upper = (np.full(count, each) for each in (100.0, 50.0, 150.0))
    history = History(STEP, time, value, expected, lower, upper, score)
    config = alarm.Config("up", bar=bar, onset_points=2)
    return JudgedHistory(uuid4(), 3, config, moment(START), moment(int(time[-1])), history, labelled)


def retuned(history: JudgedHistory, *, apply: bool = False) -> tuple[RetuneResult, object]:
    step = run(Inputs(history, apply, None), lambda share, message: None)
    assert step.result is not None
    return RetuneResult.model_validate(step.result), step.found


def test_the_bar_that_labels_ask_for_comes_with_the_quality_of_both() -> None:
    result, change = retuned(judged(true=(2.0,), false=(1.1,) * 4))
    assert (result.proposal.bar, result.proposal.revision) == (1.3, 3)
    assert result.now is not None
    assert result.then is not None
    assert (result.now.true_alarms, result.now.false_alarms, result.now.precision) == (1, 4, 0.2)
    assert (result.then.true_alarms, result.then.false_alarms, result.then.precision) == (1, 0, 1.0)
    assert (result.now.recall, result.then.recall) == (1.0, 1.0)
    assert [each.label for each in result.proposal.effect.lost] == [Label.FALSE_POSITIVE] * 4
    assert (result.applied_revision, change) == (None, None)


def test_nothing_is_set_without_being_asked_and_the_next_revision_where_it_is() -> None:
    history = judged(true=(2.0,), false=(1.1,) * 4)
    result, change = retuned(history, apply=True)
    assert result.applied_revision == 4
    assert getattr(change, "proposal", None) == result.proposal
    assert getattr(change, "reason", None) == "Retuned by 1 true and 4 false positives"


@pytest.mark.parametrize("history", [judged(), judged(true=(2.0,), false=(1.1,))])
def test_labels_that_ask_for_no_other_bar_set_none(history: JudgedHistory) -> None:
    result, change = retuned(history, apply=True)
    assert (result.proposal.bar, result.applied_revision, change) == (1.0, None, None)
    assert (result.now is None) is (not history.labelled)
