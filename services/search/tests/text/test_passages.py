from hypothesis import given
from hypothesis import strategies as st

from plumbline_search.text import passages
from plumbline_search.text.passages import CHARACTERS, LONGEST, Passage

RUNBOOK = """Who is on call reads this.

# Disk full
## Impact
Writes fail.
```shell
# not a heading
df -h
```
## Mitigation
### Quick
Delete old logs.
# Contact
storage team
"""


def test_headings_begin_passages_and_say_where_they_are() -> None:
    found = passages.of_body(RUNBOOK, markdown=True)
    assert [(passage.heading, RUNBOOK[passage.start : passage.stop].splitlines()[0]) for passage in found] == [
        ("", "Who is on call reads this."),
        ("Disk full", "# Disk full"),
        ("Disk full › Impact", "## Impact"),
        ("Disk full › Mitigation", "## Mitigation"),
        ("Disk full › Mitigation › Quick", "### Quick"),
        ("Contact", "# Contact"),
    ]


def test_a_short_text_is_one_passage() -> None:
    assert passages.of_body("x" * LONGEST) == [Passage(0, LONGEST)]
    assert passages.of_body("") == [Passage(0, 0)]


def test_a_long_text_is_cut_where_a_paragraph_ends() -> None:
    paragraph = "Some words. " * 70
    found = passages.of_body(f"{paragraph}\n\n{paragraph}\n\n{paragraph}")
    assert found[0].stop == len(paragraph) + 2


@given(st.text(alphabet=st.sampled_from("ab .\n#`"), max_size=6000), st.booleans())
def test_passages_cover_the_text_in_its_order_and_none_is_too_long(text: str, markdown: bool) -> None:
    found = passages.of_body(text, markdown=markdown)
    assert all(passage.stop - passage.start <= LONGEST for passage in found)
    at = 0
    for passage in found:
        assert not text[at : passage.start].strip()
        at = passage.stop
    assert not text[at:].strip()


def test_a_text_without_any_end_is_cut_all_the_same() -> None:
    found = passages.of_body("x" * 5000)
    assert [passage.stop - passage.start for passage in found] == [CHARACTERS] * 3 + [1400]
