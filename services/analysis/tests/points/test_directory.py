import pytest

from plumbline_analysis.points import directory
from plumbline_analysis.points.directory import Directory
from plumbline_analysis.sources.batch import Head, Kind, Layout, Temporality


def head(metric: str) -> Head:
    return Head("otlp", metric, "1", Kind.GAUGE, Temporality.NONE, False, "", ())


def test_what_was_remembered_is_known() -> None:
    known = Directory()
    known.remember(head("a"), ("x",), 7)
    assert known.numbers(head("a"), [("x",), ("y",)]) == [7, 0]
    assert known.numbers(head("b"), [("x",)]) == [0]
    known.remember_layout(Layout((1.0,)), 3)
    assert (known.layout(Layout((1.0,))), known.layout(Layout((2.0,)))) == (3, None)


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_SERIES", 4)
    monkeypatch.setattr(directory, "MAX_LAYOUTS", 2)
    known = Directory()
    for number in range(1, 4):
        known.remember(head("old"), (number,), number)
    for number in range(1, 4):
        known.remember(head("new"), (number,), number)
    assert known.numbers(head("old"), [(1,)]) == [0]
    assert known.numbers(head("new"), [(3,)]) == [3]
    for number in range(10):
        known.remember(head("new"), (number,), number + 1)
    assert known.numbers(head("new"), [(9,)]) == [10]
    assert sum(number > 0 for number in known.numbers(head("new"), [(n,) for n in range(10)])) <= 4
    for bound in range(3):
        known.remember_layout(Layout((float(bound),)), bound + 1)
    assert known.layout(Layout((2.0,))) == 3
