import io
import math
from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.moments import moment
from plumbline_cli import points

NOON = 1_767_268_800_000_000  # 2026-01-01 12:00:00 UTC


def read(text: str | bytes) -> list[points.Batch]:
    return list(points.batches(io.BytesIO(text.encode() if isinstance(text, str) else text)))


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01 12:00:00",
        "2026-01-01T12:00:00Z",
        "2026-01-01T13:00:00+01:00",
        " 2026-01-01T12:00 ",
        "20260101T120000",
        "1767268800",
        "1767268800.0",
        "1767268800000",
        "1767268800000000",
    ],
)
def test_a_timestamp_is_iso_8601_or_counts_from_1970(text: str) -> None:
    assert points.instant(text) == NOON


def test_fractions_of_a_second_and_times_before_1970_are_kept() -> None:
    assert points.instant("2026-01-01 12:00:00.000001") == NOON + 1
    assert points.instant("1767268800.25") == NOON + 250_000
    assert points.instant("-60") == -60_000_000


@given(
    exact=st.integers(315_532_800_000_000, 4_102_444_800_000_000),  # 1980 to 2100
    zone=st.sampled_from([UTC, timezone(timedelta(hours=-7))]),
)
def test_every_writing_of_a_moment_is_the_same_moment(exact: int, zone: timezone) -> None:
    local = moment(exact).astimezone(zone)
    writings = (local.isoformat(), local.isoformat(" "), str(exact))
    assert {points.instant(text) for text in writings} == {exact}
    assert points.instant(str(exact // 1000)) == exact // 1000 * 1000


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "12:00", "1e9", "1_767", "nan", "9" * 18, "--5", "²"])
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    with pytest.raises(points.Malformed, match="timestamp"):
        points.instant(text)


@pytest.mark.parametrize("text", ["", " ", "NaN", "nan", "-nan"])
def test_an_empty_value_and_nan_are_missing(text: str) -> None:
    assert math.isnan(points.number(text))


@pytest.mark.parametrize("text", ["x", "1,5", "1_000", "null", "0x10"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(points.Malformed, match="no number"):
        points.number(text)


def test_columns_are_found_by_name_and_others_left_out() -> None:
    [batch] = read('\ufeffhost,Value,"timestamp"\r\na,1.5,1767268800\r\n\r\nb,,1767268801\r\n')
    assert (batch.stamps, batch.texts) == (["1767268800", "1767268801"], ["1.5", ""])
    assert batch.at.tolist() == [NOON, NOON + 1_000_000]
    assert batch.values[0] == 1.5
    assert math.isnan(batch.values[1])


def test_a_long_file_comes_in_batches() -> None:
    lines = "".join(f"{number},1\n" for number in range(points.BATCH + 5))
    assert [len(batch.at) for batch in read("timestamp,value\n" + lines)] == [points.BATCH, 5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: the header names no column timestamp"),
        ("1767268800,5\n", "line 1: the header names no column timestamp"),
        ("timestamp,value,value\n", "line 1: the header names several columns value"),
        ("timestamp,value\n1,1\n2\n", "line 3: 1 columns instead of 2"),
        ("timestamp,value\n1,1\n2,3,4\n", "line 3: 3 columns instead of 2"),
        ("timestamp,value\n1,1\n\n2,x\n", "line 4: value 'x' is no number"),
        ("timestamp,value\nyesterday,1\n", "line 2: timestamp 'yesterday' is neither"),
        (b"timestamp,value\n1,\xff\n", "line 2: value '\ufffd' is no number"),
        ('timestamp,value\n1,"2\n', "line 2: unexpected end of data"),
        (b"timestamp,value\n1,2\x00\n", "line 2: "),
    ],
)
def test_a_row_that_cannot_be_read_is_told_with_its_line(text: str | bytes, said: str) -> None:
    with pytest.raises(points.Malformed) as told:
        read(text)
    assert str(told.value).startswith(said)
