import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.logs.changes import Config
from plumbline_analysis.logs.stream import QUIET, Judged, Stream

MINUTE = 60_000_000
START = 1_800_000_000_000_000
ORDINARY = {"cart paid": 40, "stock counted": 20, "door opened": 3}


def again(stream: Stream, interval: int = MINUTE) -> Stream:
    """As a process finds it that starts later."""
    return Stream.from_bytes(*stream.to_bytes(), interval, MINUTE, START)


class Shop:
    """Lines that come minute by minute."""

    def __init__(self) -> None:
        self.stream = Stream(MINUTE, MINUTE, START)
        self.at = START
        self.random = random.Random(7)

    def log(self, counts: Mapping[str, int], at: int | None = None) -> None:
        lines = [line for line, count in counts.items() for _ in range(count)]
        self.stream.add([self.at if at is None else at] * len(lines), lines)

    def minute(self, counts: Mapping[str, int]) -> list[Judged]:
        self.log(counts)
        self.at += MINUTE
        return self.stream.judge(self.at)

    def silence(self, minutes: int) -> list[Judged]:
        return [judged for _ in range(minutes) for judged in self.minute({})]

    def ordinary(self, minutes: int, more: Mapping[str, int] = {}) -> list[Judged]:
        judged = []
        for _ in range(minutes):
            counts = {
                line: sum(self.random.random() < 0.5 for _ in range(2 * mean)) for line, mean in ORDINARY.items()
            }
            judged += self.minute(counts | more)
        return judged


@pytest.fixture
def shop() -> Shop:
    shop = Shop()
    assert not any(each.began for each in shop.ordinary(Config().learning + 10))
    return shop


def test_of_a_time_in_which_nobody_judged_only_what_has_lines_is_judged(shop: Shop) -> None:
    for _ in range(5):
        shop.at += 4 * MINUTE
        shop.log(ORDINARY)
    shop.at += MINUTE
    judged = shop.stream.judge(shop.at)
    assert [(shop.at - each.start) // MINUTE for each in judged] == [17, 13, 9, 5, 1]
    assert not any(each.began for each in judged)


def kinds(judged: Sequence[Judged]) -> list[tuple[list[str], list[str]]]:
    return [([each.kind for each in one.began], [kind for kind, _ in one.ended]) for one in judged]


def test_intervals_are_judged_once_they_are_over() -> None:
    stream = Stream(MINUTE, MINUTE, START)
    assert (stream.judge(START + MINUTE), stream.asleep) == ([], True)
    stream.add([START + 5, START + MINUTE + 5], ["a", "b"])
    assert stream.judge(START + MINUTE - 1) == []
    assert [(each.start, each.end) for each in stream.judge(START + MINUTE)] == [(START, START + MINUTE)]
    assert not stream.asleep


def test_a_line_says_when_its_template_came() -> None:
    stream = Stream(MINUTE, MINUTE, START)
    assert stream.add([5, 3, 9], ["cart 7", "cart 8", "door"]) == {1: (3, 5), 2: (9, 9)}


def test_a_change_begins_and_ends(shop: Shop) -> None:
    began = shop.ordinary(2, {"door opened": 90})
    assert kinds(began) == [(["rate", "mix"], []), ([], [])]
    assert kinds(shop.ordinary(1)) == [([], ["rate", "mix"])]
    assert kinds(shop.minute(ORDINARY | {"tank 7 burst": 3})) == [(["new"], [])]
    assert kinds(shop.ordinary(1)) == [([], ["new"])]


def test_what_keeps_coming_is_new_for_as_long_as_is_learned_from(shop: Shop) -> None:
    judged = shop.ordinary(Config().learning + 5, {"tank 7 burst": 3})
    ended = [place for place, each in enumerate(judged) if ("new", 4) in each.ended]
    assert ended == [Config().learning + 1]


def test_a_service_that_falls_silent_is_one_finding(shop: Shop) -> None:
    found = [finding for each in shop.silence(10) for finding in each.began]
    assert [(each.kind, each.template) for each in found] == [("vanished", None)]
    assert found[0].sentence.startswith("nothing was logged for ")
    assert kinds(shop.ordinary(1))[-1][1] == ["vanished"]


def test_a_silent_stream_sleeps_until_a_line_comes(shop: Shop) -> None:
    assert len(shop.silence(QUIET + 9)) == QUIET
    assert shop.stream.asleep
    shop.at += 500 * MINUTE
    assert again(shop.stream).asleep
    shop.log({"cart paid": 40})
    assert not shop.stream.asleep
    assert [each.start for each in shop.stream.judge(shop.at + MINUTE)] == [shop.at]


def test_late_lines_count_in_the_next_interval_and_later_ones_in_none(shop: Shop) -> None:
    shop.log({"tank 7 burst": 1}, shop.at - 1)
    shop.log({"pump 7 stuck": 1}, shop.at - 2 * MINUTE)
    (judged,) = shop.ordinary(1)
    assert [finding.template for finding in judged.began] == ["tank <*> burst"]
    assert len(shop.stream.miner) == len(ORDINARY) + 2


def test_history_teaches_only() -> None:
    shop = Shop()
    shop.at -= 100 * MINUTE
    shop.ordinary(50)
    assert kinds(shop.ordinary(1, {"tank 7 burst": 40})) == [([], [])]
    shop.at = START
    assert "new" in kinds(shop.ordinary(1, {"pump 7 stuck": 40}))[-1][0]


def test_with_intervals_of_another_length_the_templates_stay(shop: Shop) -> None:
    shop.ordinary(1, {"door opened": 90})
    other = again(shop.stream, MINUTE // 2)
    assert other.miner.template(1) == shop.stream.miner.template(1)
    other.add([shop.at], ["cart paid"])
    (judged,) = other.judge(shop.at + MINUTE // 2)
    assert judged.ended == [("rate", 3), ("mix", None)]


STORY = st.lists(
    st.tuples(
        st.integers(-3, 2), st.sampled_from(["cart 7", "cart a", "cart b", "door", "tea x"]), st.integers(1, 9)
    ),
    max_size=60,
)


@given(STORY, st.sets(st.integers(0, 59)), st.sets(st.integers(0, 59)))
def test_a_stream_that_was_saved_and_cut_anywhere_goes_on_the_same(
    story: list[tuple[int, str, int]], saved: set[int], judged: set[int]
) -> None:
    def told(interrupted: bool) -> tuple[Any, ...]:
        stream, found, at = Stream(MINUTE, MINUTE, START), [], START
        for place, (minute, line, count) in enumerate(story):
            at += MINUTE // 3
            times, lines = [at + minute * MINUTE] * count, [f"{line} {each}" for each in range(count)]
            if interrupted:
                for time, each in zip(times, lines, strict=True):
                    stream.add([time], [each])
            else:
                stream.add(times, lines)
            if interrupted and place in saved:
                stream = again(stream)
            if place in judged:
                found += stream.judge(at)
        return found, stream.miner.templates(), stream.judge(at + 9 * MINUTE)

    assert told(True) == told(False)


@pytest.mark.parametrize("broken", range(3))
def test_a_broken_state_is_refused(shop: Shop, broken: int) -> None:
    state = list(shop.stream.to_bytes())
    state[broken] = b"\xff" + state[broken]
    with pytest.raises(ValueError, match="version"):
        Stream.from_bytes(state[0], state[1], state[2], MINUTE, MINUTE, START)
