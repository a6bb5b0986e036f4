import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.logs.evidence import Needed
from plumbline_analysis.logs.masking import LONGEST
from plumbline_analysis.logs.mining import VERSION, Config, Miner

SMALL = Config(templates=12, tokens=6, remembered=8, redirects=6, neighbours=5, needed=Needed(3, 5, 2))


def groups(lines: Sequence[str | bytes], config: Config | None = None) -> list[str]:
    """The template of each line, as it is in the end."""
    miner = Miner(config)
    return [text(miner, id) for id in miner.add(lines)]


def text(miner: Miner, id: int) -> str:
    template = miner.template(id)
    assert template is not None
    return template.text


def test_lines_that_differ_in_numbers_only_are_one() -> None:
    assert set(groups(["cart 7 has 3 items", "cart 88 has 1 items"])) == {"cart <*> has <*> items"}


def test_a_word_that_has_few_others_at_its_place_is_part_of_the_message() -> None:
    lines = ["the disk is full now", "the disk is empty now", "the disk is gone now"]
    assert groups(lines) == lines


def test_a_place_with_many_words_is_a_variable() -> None:
    lines = [f"basket of {name} was emptied" for name in ("ada", "bob", "cleo", "dan", "eve")]
    assert set(groups(lines)) == {"basket of <*> was emptied"}


def test_earlier_lines_go_with_the_group_that_their_template_joined() -> None:
    miner = Miner()
    ids = [miner.add([f"basket of {name} was emptied"])[0] for name in ("ada", "bob", "cleo", "dan")]
    assert len(set(ids)) > 1
    assert {miner.current(id) for id in ids} == {1}
    template = miner.template(ids[-1])
    assert template is not None
    assert (template.count, template.first, template.last) == (4, 0, 3)
    assert template.examples == tuple(f"basket of {name} was emptied" for name in ("ada", "bob", "cleo"))


def test_two_places_that_change_together_are_variables() -> None:
    names = ("ada", "bob", "cleo", "dan", "eve")
    lines = [f"parcel of {name} goes to town{name} by the night train" for name in names]
    assert set(groups(lines)) == {"parcel of <*> goes to <*> by the night train"}


def test_what_a_line_begins_with_is_a_variable_only_after_many() -> None:
    parts = ("oven", "lamp", "fridge", "kettle", "toaster", "fan", "heater", "radio")
    assert groups([f"{part} started well" for part in parts]) == [f"{part} started well" for part in parts]
    many = [f"{part}{other} started well" for part in parts for other in parts]
    assert groups(many)[-1] == "<*> started well"


def test_ids_of_two_kinds_are_values_of_one_place() -> None:
    assert set(groups(["stored block cache_7 twice", "stored block disk_8_b2 twice"])) == {"stored block <*> twice"}


def test_labels_with_their_values_are_not_values_of_one_place() -> None:
    lines = ["set width=7 now", "set height=8 now"]
    assert groups(lines) == ["set width=<*> now", "set height=<*> now"]


def test_a_name_follows_after_for_user() -> None:
    assert set(groups(["door opened for user ada", "door opened for user bob"])) == {"door opened for user <*>"}


def test_a_list_is_one_value_however_long() -> None:
    lines = [f"delete {' '.join(f'part_{number}' for number in range(count))} soon" for count in (1, 2, 5, 40)]
    assert set(groups(lines)) == {"delete part_<*> soon"}


def test_common_beginnings_of_values_stay() -> None:
    lines = [f"env shop.{name}=on was read" for name in ("cart", "till", "stock", "price")]
    assert set(groups(lines)) == {"env shop.<*>=on was read"}


def test_words_alone_are_never_joined() -> None:
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"]
    assert groups(words) == words


def test_an_empty_line_has_a_template() -> None:
    assert groups(["", " \t "]) == ["(empty)", "(empty)"]


def test_lines_of_10_mb_and_of_random_bytes_have_templates() -> None:
    noise = random.Random(7).randbytes(10_000_000)
    found = groups([noise, "word " * 2_000_000, b"\xff" * 10_000_000])
    assert len(found) == 3
    assert max(map(len, found)) <= LONGEST


def test_200_000_different_words_leave_the_state_bounded() -> None:
    miner = Miner(Config(templates=256))
    chance = random.Random(7)
    for _ in range(20):
        lines = [
            " ".join("".join(chance.choices("ghijklmnop", k=8)) for _ in range(chance.randrange(1, 4)))
            for _ in range(5_000)
        ]
        miner.add(lines)
        assert len(miner) <= 256
    assert len(miner.to_bytes()) < 2**20


def test_another_version_of_the_state_is_refused() -> None:
    data = Miner().to_bytes()
    with pytest.raises(ValueError, match="version"):
        Miner.from_bytes(bytes([VERSION + 1]) + data[1:])
    with pytest.raises(ValueError, match="version"):
        Miner.from_bytes(b"")
    with pytest.raises(ValueError, match="broken"):
        Miner.from_bytes(data[:-9])


WORDS = ["a", "bb", "cc.d", "ee=f", "f9", "17", "/x/y", "user", "for", "=null", "(z)", "ü", ",", "host", "g_1"]
LINES = st.lists(
    st.one_of(st.binary(max_size=40), st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)), max_size=60
)


@given(LINES)
def test_any_line_gives_a_template_and_the_state_stays_bounded(lines: list[str | bytes]) -> None:
    miner = Miner(SMALL)
    ids = miner.add(lines)
    assert len(ids) == len(lines)
    assert all(miner.current(id) == id for id in ids)
    assert len(miner) <= SMALL.templates
    assert miner.lines == len(lines)
    assert sum(template.count for template in miner.templates()) <= len(lines)
    assert len(miner._known) <= SMALL.remembered
    assert len(miner._joined) <= SMALL.redirects
    assert sum(len(length.ids) for length in miner._lengths.values()) == len(miner)


@given(LINES, st.data())
def test_batches_and_restarts_change_nothing(lines: list[str | bytes], data: st.DataObject) -> None:
    whole = Miner(SMALL)
    ids = whole.add(lines)
    parts = Miner(SMALL)
    split: list[int] = []
    while len(split) < len(lines):
        size = data.draw(st.integers(1, len(lines)))
        split += parts.add(lines[len(split) : len(split) + size])
        if data.draw(st.booleans()):
            parts = Miner.from_bytes(parts.to_bytes())
    assert [parts.current(id) for id in split] == ids
    assert parts.templates() == whole.templates()
    assert parts.to_bytes() == whole.to_bytes()


@given(LINES)
def test_a_template_matches_its_lines(lines: list[str | bytes]) -> None:
    """Its constant parts stand in the line in their order; only control characters and spaces are not told apart."""
    miner = Miner()
    for line, id in zip(lines, miner.add(lines), strict=True):
        shown = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        place = 0
        for part in text(miner, id).replace("(empty)", "").replace("<*>", " ").split():
            place = shown.find(part, place)
            assert place >= 0, (shown, text(miner, id))
            place += len(part)
