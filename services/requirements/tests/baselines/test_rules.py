import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_common.errors import Invalid
from plumbline_requirements.baselines import rules


@given(st.lists(st.integers(0, 30), max_size=40))
def test_each_requirement_stands_once_and_every_other_place_is_pointed_to(requirements: list[int]) -> None:
    again = [place for place, each in enumerate(requirements) if each in requirements[:place]]
    if not again:
        rules.check_once(requirements)
        return
    with pytest.raises(rules.BadItems) as refusal:
        rules.check_once(requirements)
    told = {error["pointer"]: error["detail"] for error in refusal.value.extra["errors"]}
    assert list(told) == [f"/items/{place}/requirement_id" for place in again]
    for place in again:
        first = requirements.index(requirements[place])
        assert told[f"/items/{place}/requirement_id"] == f"stands at /items/{first} already"


def test_no_more_faults_are_told_than_help() -> None:
    with pytest.raises(rules.BadItems) as refusal:
        rules.check_once([0] * 1000)
    assert len(refusal.value.extra["errors"]) == rules.REPORTED


@pytest.mark.parametrize("size", [0, rules.LARGEST + 1])
def test_a_selection_of_nothing_or_of_too_much_makes_no_baseline(size: int) -> None:
    with pytest.raises(Invalid) as refusal:
        rules.check_selected(size)
    assert refusal.value.pointer == "/select"


@given(st.integers(1, rules.LARGEST))
def test_any_other_selection_does(size: int) -> None:
    rules.check_selected(size)
