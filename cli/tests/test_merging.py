from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from plumbline_cli import merging

words = st.sampled_from(["", "a", "b", "c"])
labels = st.dictionaries(st.sampled_from("kmn"), st.sampled_from(["", "1", "2"]))
slos = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("pqr"), "target": st.sampled_from([0.9, 0.99])}),
    unique_by=lambda slo: str(slo["name"]),
)
contents = st.fixed_dictionaries(
    {"title": words, "statement": words, "labels": labels, "slos": slos},
    optional={"service": st.none() | st.sampled_from(["s", "t"]), "priority": st.sampled_from(["must", "should"])},
).map(merging.normal)


def applied(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396, section 2."""
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = applied(result.get(name) or {}, value) if isinstance(value, dict) else value
    return result


def parts(content: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """Every part that two people can change on their own."""
    found: dict[tuple[str, ...], Any] = {
        (name,): value for name, value in content.items() if name not in ("labels", "slos") and value is not None
    }
    found |= {("labels", key): value for key, value in content["labels"].items()}
    return found | {("slos", slo["name"]): slo for slo in content["slos"]}


@given(contents, contents)
def test_a_patch_leads_from_one_content_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    patch = merging.patch(before, after)
    assert merging.normal(applied(before, patch)) == after
    assert set(patch) == {name for name in after if after[name] != before[name]}


@given(contents, contents)
def test_what_one_side_alone_changed_is_what_comes_out(base: dict[str, Any], changed: dict[str, Any]) -> None:
    for merged in (
        merging.merge(base, changed, base),
        merging.merge(base, base, changed),
        merging.merge(base, changed, changed),
    ):
        assert merged.content == changed
        assert not merged.conflicts


@given(contents, contents, contents)
def test_every_part_is_that_of_who_changed_it(
    base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    merged = merging.merge(base, mine, theirs)
    before, ours, other, result = (parts(content) for content in (base, mine, theirs, merged.content))
    both = set()
    for path in {*before, *ours, *other, *result}:
        was, my, their = (side.get(path) for side in (before, ours, other))
        if my == was:
            assert result.get(path) == their
        else:
            assert result.get(path) == my
            if their not in (was, my):
                both.add(path)
    assert {conflict.path for conflict in merged.conflicts} == both
    assert all((side.mine, side.theirs) == (ours.get(side.path), other.get(side.path)) for side in merged.conflicts)


@given(contents, contents, contents)
def test_both_sides_see_the_same_conflicts(
    base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    ours, others = merging.merge(base, mine, theirs), merging.merge(base, theirs, mine)
    assert {conflict.path for conflict in ours.conflicts} == {conflict.path for conflict in others.conflicts}
    if not ours.conflicts:
        assert parts(ours.content) == parts(others.content)


@given(contents, contents, contents)
def test_what_is_taken_is_told(base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    merged = merging.merge(base, mine, theirs)
    assert set(merged.taken) <= {name for name in theirs if theirs[name] != base[name]}
    wanted = {name for name in theirs if theirs[name] != base[name] and mine[name] == base[name]}
    assert wanted <= set(merged.taken)


def test_slos_that_cannot_be_told_apart_conflict_as_a_whole() -> None:
    def content(*slos: Any) -> dict[str, Any]:
        return {"slos": list(slos)}

    merged = merging.merge(content(), content({"name": "a"}, {"name": "a"}), content({"name": "b"}))
    assert [conflict.path for conflict in merged.conflicts] == [("slos",)]
    assert merged.taken == []


def test_numbers_and_truths_are_told_apart() -> None:
    assert not merging.same({"a": 1}, {"a": True})
    assert merging.patch({"slos": [{"counter": True}]}, {"slos": [{"counter": 1}]}) == {"slos": [{"counter": 1}]}
