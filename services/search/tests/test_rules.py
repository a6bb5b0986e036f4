import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_search.rules import ENOUGH, START, STOP, Fused, Scored, fuse, shown, storable

scores = st.floats(-1, 1, allow_nan=False)
legs = st.dictionaries(st.integers(1, 40), scores, max_size=30).map(
    lambda found: [Scored(id, score) for id, score in found.items()]
)


@given(legs, legs)
def test_the_fusion_holds_each_document_of_both_legs_once(lexical: list[Scored], vector: list[Scored]) -> None:
    ids = [hit.id for hit in fuse(lexical, vector)]
    assert len(ids) == len(set(ids))
    assert set(ids) == {hit.id for hit in [*lexical, *vector]}


@given(legs, legs)
def test_scores_fall_and_stay_between_0_and_1(lexical: list[Scored], vector: list[Scored]) -> None:
    found = [hit.score for hit in fuse(lexical, vector)]
    assert found == sorted(found, reverse=True)
    assert all(0 <= score <= 1 for score in found)


@given(legs, legs, st.randoms())
def test_the_order_in_which_a_leg_comes_does_not_matter(
    lexical: list[Scored], vector: list[Scored], random: object
) -> None:
    shuffled = list(lexical)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fuse(shuffled, vector) == fuse(lexical, vector)


@given(legs, legs)
def test_what_is_better_in_both_legs_never_ranks_below(lexical: list[Scored], vector: list[Scored]) -> None:
    def key(hit: Fused) -> tuple[float, float]:
        low = float("-inf")
        return (
            low if hit.lexical is None else hit.lexical,
            low if hit.vector is None else hit.vector,
        )

    fused = fuse(lexical, vector)
    for better in fused:
        for worse in fused:
            if key(better)[0] >= key(worse)[0] and key(better)[1] >= key(worse)[1]:
                assert better.score >= worse.score


@given(legs, legs)
def test_each_hit_keeps_the_scores_of_its_legs(lexical: list[Scored], vector: list[Scored]) -> None:
    words = {hit.id: hit.score for hit in lexical}
    meaning = {hit.id: hit.score for hit in vector}
    for hit in fuse(lexical, vector):
        assert hit.lexical == words.get(hit.id)
        assert hit.vector == meaning.get(hit.id)


def test_with_enough_hits_scores_decide_by_half_and_half() -> None:
    lexical = [Scored(1, 10.0), Scored(2, 5.0), Scored(3, 0.0)]
    vector = [Scored(1, 0.0), Scored(2, 0.75), Scored(4, 1.0)]
    fused = fuse(lexical, vector)
    assert [hit.id for hit in fused] == [2, 4, 1, 3]
    assert [hit.score for hit in fused] == pytest.approx([0.625, 0.5, 0.5, 0])


def test_with_few_hits_in_a_leg_ranks_decide() -> None:
    lexical = [Scored(7, 0.0001)]
    vector = [Scored(id, 1 - id / 100) for id in range(1, 9)]
    assert len(lexical) < ENOUGH
    first, second = fuse(lexical, vector)[:2]
    assert first.id == 7, "found by both legs"
    assert first.score == pytest.approx((1 + 61 / 67) / 2)
    assert second.id == 1
    assert second.score == pytest.approx(0.5)


def test_without_words_the_meaning_alone_ranks() -> None:
    vector = [Scored(id, id / 10) for id in (3, 1, 2)]
    assert [hit.id for hit in fuse([], vector)] == [3, 2, 1]


def test_a_leg_whose_scores_are_all_equal_favours_none() -> None:
    lexical = [Scored(id, 0.1) for id in (1, 2, 3)]
    vector = [Scored(1, 0.2), Scored(2, 0.9), Scored(3, 0.5)]
    assert [hit.id for hit in fuse(lexical, vector)] == [2, 3, 1]


def test_no_hits_at_all_fuse_to_none() -> None:
    assert fuse([], []) == []


@given(st.text())
def test_storable_text_has_neither_nul_nor_marks_nor_surrogates(text: str) -> None:
    stored = storable(text + f"\x00{START}{STOP}\ud800")
    stored.encode()
    assert not set(stored) & {"\x00", START, STOP}


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_shown_headline_holds_no_tag_but_the_marks(text: str) -> None:
    headline = f"{storable(text)} {START}{storable(text)}{STOP}"
    page = shown(headline)
    assert set(re.findall(r"<[^>]*>?", page)) <= {"<mark>", "</mark>"}
    assert html.unescape(re.sub("</?mark>", "", page)) == re.sub(f"[{START}{STOP}]", "", headline)


def test_script_in_a_document_is_shown_as_text() -> None:
    assert shown(f"<script>{START}alert{STOP}('x')</script>") == (
        "&lt;script&gt;<mark>alert</mark>(&#x27;x&#x27;)&lt;/script&gt;"
    )
