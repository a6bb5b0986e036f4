import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.logs.changes import Config, Finding, Tally, Watch
from plumbline_analysis.logs.mining import Miner

LEARNED = 60
ORDINARY = {"cart paid": 40, "stock counted": 20, "door opened": 3}


class Stream:
    """A miner and a watch that see interval after interval."""

    def __init__(self, config: Config | None = None, seed: int = 7) -> None:
        self.miner = Miner()
        self.watch = Watch(config)
        self._random = random.Random(seed)

    def interval(self, counts: Mapping[str, int]) -> list[Finding]:
        tally = Tally()
        lines = [line for line, count in counts.items() for _ in range(count)]
        tally.add(self.miner.add(lines), lines)
        return self.watch.step(tally, self.miner)

    def ordinary(self, count: int, without: str | None = None) -> list[Finding]:
        """Intervals of counts that vary as chance wants."""
        found = []
        for _ in range(count):
            counts = {
                line: sum(self._random.random() < 0.5 for _ in range(2 * mean)) for line, mean in ORDINARY.items()
            }
            found += self.interval({line: number for line, number in counts.items() if line != without})
        return found


@pytest.fixture
def stream() -> Stream:
    stream = Stream()
    assert stream.ordinary(LEARNED) == []
    return stream


def one(findings: list[Finding], kind: str) -> Finding:
    (found,) = [finding for finding in findings if finding.kind == kind]
    return found


def test_chance_alone_is_no_finding() -> None:
    for seed in range(5):
        assert Stream(seed=seed).ordinary(1_000) == []


def test_nothing_is_told_while_it_learns() -> None:
    stream = Stream()
    for number in range(Config().learning):
        assert stream.interval({f"word{'x' * number} is new": 50}) == []


def test_a_new_template_is_told_once_with_its_lines(stream: Stream) -> None:
    found = one(stream.interval(ORDINARY | {"tank 7 burst": 2, "tank 8 burst": 2}), "new")
    assert found.template == "tank <*> burst"
    assert found.sentence == "“tank <*> burst” came 4 times; no line like it came in the 60 intervals before"
    assert found.examples == ("tank 7 burst", "tank 7 burst", "tank 8 burst")
    assert found.score >= 1
    assert [each for each in stream.interval(ORDINARY | {"tank 9 burst": 4}) if each.kind == "new"] == []


def test_a_burst_is_told_once_with_what_was_expected(stream: Stream) -> None:
    found = one(stream.interval(ORDINARY | {"door opened": 60}), "rate")
    assert (found.template, found.came) == ("door opened", 60)
    assert found.expected == pytest.approx(3, abs=0.6)
    assert found.lower == 0
    assert 3 < found.upper < 20
    assert found.score > 1
    assert "“door opened” came 60 times in an interval; " in found.sentence
    assert found.examples == ("door opened",) * 3
    assert [each for each in stream.interval(ORDINARY | {"door opened": 60}) if each.kind == "rate"] == []


def test_after_a_burst_has_ended_the_next_one_is_told_too(stream: Stream) -> None:
    one(stream.interval(ORDINARY | {"door opened": 60}), "rate")
    assert stream.ordinary(5) == []
    one(stream.interval(ORDINARY | {"door opened": 60}), "rate")


def test_a_rate_that_falls_is_told(stream: Stream) -> None:
    found = one(stream.interval(ORDINARY | {"cart paid": 2}), "rate")
    assert found.came < found.lower < found.expected


def test_a_template_that_stays_away_vanished(stream: Stream) -> None:
    findings = stream.ordinary(3, without="stock counted")
    found = one(findings, "vanished")
    assert found.template == "stock counted"
    assert "did not come for one interval" in found.sentence
    assert found.examples == ("stock counted",)
    assert [each for each in stream.ordinary(50, without="stock counted") if each.kind == "vanished"] == []


def test_what_comes_once_an_hour_vanishes_after_hours_only() -> None:
    stream = Stream()
    for number in range(600):
        findings = stream.interval({"tick": 30} | ({"hourly report": 10} if number % 60 == 0 else {}))
        assert findings == [] or number <= 240
    silent = [stream.interval({"tick": 30}) for _ in range(600)]
    (told,) = [number for number, findings in enumerate(silent) if findings]
    assert 120 < told < 500


def test_a_change_of_the_mix_is_told_with_the_shares(stream: Stream) -> None:
    found = one(stream.interval({"cart paid": 10, "stock counted": 45, "door opened": 5}), "mix")
    assert found.score >= 1
    assert [share.template for share in found.shares] == ["cart paid", "stock counted", "door opened"]
    assert found.shares[1].expected == pytest.approx(20 / 63, abs=0.05)
    assert found.shares[1].came == 0.75
    assert "most by “cart paid”, 17% of the lines instead of 6" in found.sentence
    assert found.examples == ("cart paid", "stock counted", "door opened")


def test_a_change_that_stays_becomes_the_rule(stream: Stream) -> None:
    for _ in range(2_000):
        stream.interval(ORDINARY | {"door opened": 30})
    assert stream.interval(ORDINARY | {"door opened": 31}) == []


def test_a_template_that_joins_another_keeps_its_baseline() -> None:
    stream = Stream()
    names = ["ada", "bob", "cleo"]
    for _ in range(LEARNED):
        assert stream.interval({f"tea for {name} is ready": 10 for name in names}) == []
    counts = {f"tea for {name} is ready": 8 for name in [*names, "dan"]}
    assert stream.interval(counts) == []
    assert len(stream.watch) == 1


def test_so_many_findings_are_told_the_highest_scores_first(stream: Stream) -> None:
    new = {f"{'pipe ' * number}broken": number for number in range(1, 40)}
    found = stream.interval(ORDINARY | new)
    assert len(found) == Config().most
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


COUNTS = st.dictionaries(st.sampled_from(["a b", "c d", "e f g", "h 1", "i"]), st.integers(0, 10**6), max_size=4)
SMALL = Config(learning=2, half_life=3, templates=3, memory=4, least_lines=2)


def tallied(counts: Mapping[str, int], miner: Miner) -> Tally:
    tally = Tally()
    for line, count in counts.items():
        if count:
            (id,) = miner.add([line])
            tally.counts[id], tally.lines[id] = count, [line]
    return tally


@given(st.lists(COUNTS, max_size=25), st.data())
def test_restarts_change_nothing_and_the_state_stays_bounded(
    intervals: list[dict[str, int]], data: st.DataObject
) -> None:
    one, other, miner = Watch(SMALL), Watch(SMALL), Miner()
    for counts in intervals:
        tally = tallied(counts, miner)
        assert one.step(tally, miner) == other.step(tally, miner)
        assert len(one) <= SMALL.templates
        if data.draw(st.booleans()):
            other = Watch.from_bytes(other.to_bytes())
    assert one.to_bytes() == other.to_bytes()


def test_another_version_of_the_state_is_refused() -> None:
    with pytest.raises(ValueError, match="version"):
        Watch.from_bytes(b"\xff")
    with pytest.raises(ValueError, match="broken"):
        Watch.from_bytes(Watch().to_bytes()[:-5])
