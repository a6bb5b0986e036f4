import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plumbline_analysis.logs.masking import LONGEST, MASK, mask


def masked(line: str | bytes) -> str:
    return mask([line])[0].replace(MASK, b"<*>").decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("took 31 turns, offset -4", "took <*> turns, offset <*>"),
        ("at 0x7ffe01 in f3a9", "at <*> in f<*>"),
        ("commit c0ffee1234 is missing", "commit <*> is missing"),
        ("order 7d2c6c1e-94c1-4e07-a1be-3c2b1d1f6a55 paid", "order <*> paid"),
        ("order_77 of shop-8", "order_<*> of shop-<*>"),
        ("peer 192.0.2.7:8080 left", "peer <*> left"),
        ("peer [2001:db8::7]:8080 left", "peer [<*>]:<*> left"),
        ("port 00:1B:44:11:3A:B7 is down", "port <*> is down"),
        ("read /srv/media/films.db.", "read <*>."),
        ("read ./films.db and ~/notes", "read <*> and <*>"),
        ("read /films", "read /films"),
        (r"read C:\media\films.db now", "read <*> now"),
        ("GET https://shop.example.org/cart?id=7, twice", "GET https://<*>, twice"),
        ("used 12 KB in 3 ms, 95%", "used <*> in <*>"),
        ("used 12 kittens", "used <*> kittens"),
        ("began 2026-05-01T10:00:00.123Z here", "began <*> here"),
        ("began Fri May  1 10:00:00 UTC 2026 here", "began <*> here"),
        ("began Fri, 1 May 2026 here", "began Fri, <*> here"),
        ("May I ask", "May I ask"),
        ("open=true owner=null mode=False name=none_yet", "open=<*> owner=<*> mode=<*> name=none_yet"),
        ('label="two words" said "no"', 'label=<*> said "no"'),
        ("took <1 sec, <ok> <5>", "took <*>, <ok> <<*>>"),
        ("ids 1, 2, 3 and 7##8##9", "ids <*> and <*>"),
        ("from (4) to [5]", "from (<*>) to [<*>]"),
    ],
)
def test_values_are_masked_and_words_are_not(line: str, expected: str) -> None:
    assert masked(line) == expected


def test_control_characters_count_as_spaces() -> None:
    assert masked("\x1b disk\t\x00full\x01\n") == "disk full"


def test_an_empty_line_stays_empty() -> None:
    assert mask(["", " \t", b""]) == [b"", b"", b""]


def test_a_line_of_10_mb_is_cut() -> None:
    assert mask(["x" * 10_000_000, b"y" * 10_000_000]) == [b"x" * LONGEST, b"y" * LONGEST]


def test_what_utf_8_cannot_hold_is_replaced() -> None:
    assert masked("ab\udc80c") == "ab?c"
    assert masked(b"ab\xff\xfec") == "ab\ufffd\ufffdc"


@given(st.lists(st.one_of(st.binary(max_size=80), st.text(max_size=80))))
@example(
    [b"http://", b"://x", b"a://.", b'="', b"/", b"//", b"a:\\", b"-1", b"~/", b"1:", b"::1", b"May 1", b"Mon, May 1"]
)
def test_any_bytes_are_masked_and_none_gets_longer(lines: list[str | bytes]) -> None:
    found = mask(lines)
    assert len(found) == len(lines)
    for line, each in zip(lines, found, strict=True):
        assert len(each) <= len(line.encode("utf-8", "replace") if isinstance(line, str) else line)
        assert each == b" ".join(each.split())
        assert not any(byte < 32 and byte != MASK[0] for byte in each)
        assert not any(48 <= byte <= 57 for byte in each)


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_lines_do_not_know_of_each_other(lines: list[bytes]) -> None:
    assert mask(lines) == [mask([line])[0] for line in lines]


_PIECES = st.sampled_from(
    ["/", ":", "//", "\\", '"', "=", "May", "Fri", " ", ",", "7", "ff", "null", "KB", "-", "<", "~", "é"]
)


@given(st.lists(_PIECES, max_size=30).map("".join))
def test_what_is_kept_stands_in_the_line_in_order(line: str) -> None:
    place = 0
    for piece in mask([line])[0].replace(b" ", MASK).split(MASK):
        place = line.encode().find(piece, place)
        assert place >= 0
        place += len(piece)
