import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_cli import evaluation

rankings = st.lists(st.sampled_from("abcdefghij"), unique=True)
judgements = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 3))


def test_the_metrics_are_those_of_the_books() -> None:
    found = evaluation.scored(["x", "a", "y", "b"], {"a": 2, "b": 1, "c": 1})
    dcg = 2 / math.log2(3) + 1 / math.log2(5)
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert found == {"ndcg@10": pytest.approx(dcg / ideal), "mrr@10": 0.5, "recall@100": pytest.approx(2 / 3)}


@given(rankings, judgements)
def test_metrics_lie_between_0_and_1_and_the_ideal_ranking_has_1(ranking: list[str], judged: dict[str, int]) -> None:
    assert all(0 <= value <= 1 + 1e-9 for value in evaluation.scored(ranking, judged).values())
    ideal = sorted(judged, key=lambda document: -judged[document])
    if any(judged.values()):
        assert evaluation.scored(ideal, judged) == {metric: pytest.approx(1) for metric in evaluation.METRICS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "a", "text": "one"}\n{"_id": 2, "text": "two", "title": "T"}\n{"_id": "e", "text": " "}\n'
    )
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "which"}\n{"_id": "r", "text": "never judged"}\n')
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\t2\t1\nq\ta\t0\n")
    return tmp_path


def test_a_collection_is_read_and_each_way_is_measured(folder: Path) -> None:
    collection = evaluation.read(folder)
    assert collection.judged == ["q"]
    put = list(evaluation.lines(collection))
    assert [each["content"]["title"] for each in put] == ["", "T"]
    assert [each["external_id"] for each in put] == [each["external_id"] for each in evaluation.removals(collection)]
    asked: list[dict[str, Any]] = []

    async def search(query: str, limit: int, **request: Any) -> dict[str, Any]:
        asked.append(request)
        return {"items": [{"external_id": each["external_id"]} for each in put]}

    figures = asyncio.run(evaluation.measure(search, collection, lambda: None))
    assert list(figures) == ["lexical", "vector", "fused by ranks", "fused by scores"]
    assert all(row["mrr@10"] == 0.5 for row in figures.values())
    assert all(request["filter"] == {"facet": "collection", "in": [collection.name]} for request in asked)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("corpus.jsonl", '{"_id": "a", "text": "x"}\n{"text": "x"}\n', "corpus.jsonl, line 2"),
        ("queries.jsonl", "[]\n", "queries.jsonl, line 1"),
        ("qrels.tsv", "q\t2\t1\nq 2 1\n", "qrels.tsv, line 2"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(folder: Path, file: str, text: str, said: str) -> None:
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=said):
        evaluation.read(folder)


def test_feedback_is_judged_on_what_is_there() -> None:
    judged = [
        {"query": "disk full", "entity_id": "a", "grade": 2},
        {"query": "disk full", "entity_id": "b", "grade": 0},
        {"query": "never right", "entity_id": "a", "grade": 0},
    ]
    collection = evaluation.of_feedback(judged)
    assert collection.judged == ["disk full"]
    asked: list[dict[str, Any]] = []

    async def search(query: str, limit: int, **request: Any) -> dict[str, Any]:
        asked.append(request)
        return {"items": [{"entity_id": "b"}, {"entity_id": "a"}]}

    figures = asyncio.run(evaluation.measure(search, collection, lambda: None))
    assert all(row["mrr@10"] == 0.5 for row in figures.values())
    assert all("filter" not in request for request in asked)


def test_a_missing_file_is_told(folder: Path) -> None:
    (folder / "qrels.tsv").unlink()
    with pytest.raises(OSError, match="qrels"):
        evaluation.read(folder)


def test_judgements_need_no_header(folder: Path) -> None:
    (folder / "qrels.tsv").write_text("q\t2\t1\n")
    assert evaluation.read(folder).judgements == {"q": {"2": 1}}
