import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.points import copy_format

_INT = st.integers(-(2**62), 2**62)


@given(rows=st.lists(st.tuples(_INT, _INT, _INT, st.floats(allow_nan=False)), max_size=20))
def test_what_is_written_is_read_back(rows: list[tuple[int, int, int, float]]) -> None:
    signal, time, start = (np.array([row[place] for row in rows], np.int64) for place in range(3))
    values = np.array([row[3] for row in rows], np.float64)
    data = copy_format.numbers(signal, time, start, values)
    for written, found in zip((signal, time, start, values), copy_format.read_numbers(data), strict=True):
        assert written.tolist() == found.tolist()


def test_a_row_is_what_postgresql_documents() -> None:
    signal, time, start = (np.array([value], np.int64) for value in (7, copy_format.POSTGRES_EPOCH + 1, 0))
    data = copy_format.numbers(signal, time, start, np.array([1.5]))
    row = data.removeprefix(copy_format.HEADER).removesuffix(copy_format.TRAILER)
    before_the_epoch = (-copy_format.POSTGRES_EPOCH).to_bytes(8, "big", signed=True).hex()
    fields = ["0000000000000007", "0000000000000001", before_the_epoch, "3ff8000000000000"]
    assert row == bytes.fromhex("0004" + "".join(f"00000008{field}" for field in fields))
