import io
import time
from datetime import UTC, datetime, timedelta

import pytest

from plumbline_analysis.sources import history
from plumbline_analysis.sources.batch import Head, Kind, Temporality, Window
from plumbline_analysis.sources.history import Defaults, Malformed, Slice
from plumbline_common.errors import Invalid

NOW = int(time.time())
WINDOW = Window.around(NOW, 24 * 35, 10)
DEFAULTS = Defaults(service="shop", metric="depth")


def of_csv(text: str | bytes, defaults: Defaults = DEFAULTS) -> list[Slice]:
    source = io.BytesIO(text.encode() if isinstance(text, str) else text)
    return list(history.slices(source, history.csv_rows(source, defaults), defaults, WINDOW))


def of_json(text: str, defaults: Defaults = DEFAULTS) -> list[Slice]:
    source = io.BytesIO(text.encode())
    return list(history.slices(source, history.json_rows(source), defaults, WINDOW))


def found(part: Slice) -> list[tuple[Head, dict[str, str], int, float]]:
    return [
        (*block.describe(key), at // 1_000_000, value)
        for block in part.batch.blocks
        for key, at, value in zip(block.keys, block.time.tolist(), list(block.values), strict=True)  # type: ignore[arg-type]
    ]


def head(metric: str, service: str = "shop") -> Head:
    return Head(
        "upload", metric, "", Kind.GAUGE, Temporality.NONE, False, "", (("service.name", service),) if service else ()
    )


def test_a_row_a_point() -> None:
    (part,) = of_csv(
        "timestamp,value,service,metric,region,attributes\n"
        f'{NOW},1.5,mail,,eu,"{{""queue"": ""a"", ""tries"": 2}}"\n\n'
        f"{NOW + 1},2,,width,,\n"
        f"{NOW + 2},,,,,\n"
        f"{NOW + 3},NaN,,,,\n"
    )
    assert found(part) == [
        (head("depth", "mail"), {"queue": "a", "region": "eu", "tries": "2"}, NOW, 1.5),
        (head("width"), {}, NOW + 1, 2.0),
    ]
    assert (part.places, part.faults) == ([[2], [4]], [])


def test_a_column_a_metric() -> None:
    text = f"\ufefftimestamp,cpu,memory,service\n{NOW},0.5,,shop\n{NOW + 60},0.6,128,mail\n"
    (part,) = of_csv(text)
    assert found(part) == [
        (head("cpu"), {}, NOW, 0.5),
        (head("cpu", "mail"), {}, NOW + 60, 0.6),
        (head("memory", "mail"), {}, NOW + 60, 128.0),
    ]
    assert part.end == len(text.encode())


def test_a_json_object_a_point() -> None:
    (part,) = of_json(
        f'{{"timestamp": {NOW}, "value": 1, "attributes": {{"b": true, "a": "x"}}}}\n'
        f'{{"timestamp": "{datetime.fromtimestamp(NOW, UTC).isoformat()}", "value": null}}\n'
        f'{{"timestamp": {NOW * 1000}, "value": -2.5, "metric": "width", "service": "mail"}}'
    )
    assert found(part) == [
        (head("depth"), {"a": "x", "b": "true"}, NOW, 1.0),
        (head("width", "mail"), {}, NOW, -2.5),
    ]


def test_counters_are_cumulative() -> None:
    (part,) = of_csv(f"timestamp,orders\n{NOW},7\n", Defaults(unit="{order}", counter=True))
    ((of_orders, *_),) = found(part)
    assert of_orders == Head("upload", "orders", "{order}", Kind.SUM, Temporality.CUMULATIVE, True, "", ())


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"{NOW},1", "2 columns instead of 3"),
        (f"{NOW},one,", "'one' is no number"),
        (f"{NOW},1_000,", "'1_000' is no number"),
        (f"{NOW},inf,", "the value is not a finite number"),
        ("yesterday,1,", "timestamp 'yesterday' is neither ISO 8601 nor a number since 1970"),
        (f"{NOW - 36 * 86_400},1,", "the time is more than 840 h in the past"),
        (f"{NOW},1,[]", "'attributes' is not a JSON object"),
        (f"{NOW},1,oops", "'attributes' is not JSON"),
        (f'{NOW},1,"a" b', "expected after"),
        (b"\xff,1,", "the line is not UTF-8"),
        (f"{NOW},1,{'x' * history.LONGEST_LINE}", f"the line is longer than {history.LONGEST_LINE} bytes"),
    ],
)
def test_a_row_at_fault_is_named_and_the_others_are_kept(row: str | bytes, reason: str) -> None:
    raw = row.encode() if isinstance(row, str) else row
    (part,) = of_csv(b"timestamp,value,attributes\n%d,1,\n%b\n%d,2,\n" % (NOW, raw, NOW + 1))
    ((line, told),) = part.faults
    assert (line, part.places) == (3, [[2, 4]])
    assert reason in told


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        (f'{{"timestamp": {NOW}, "value": "1"}}', "'value' is not a number"),
        (f'{{"timestamp": {NOW}, "value": true}}', "'value' is not a number"),
        ('{"value": 1}', "timestamp 'None' is neither"),
        (f'{{"timestamp": {NOW}, "value": 1, "region": "eu"}}', "there is no member 'region'"),
        (f'{{"timestamp": {NOW}, "value": 1, "metric": 7}}', "'metric' is not a string"),
        (f'{{"timestamp": {NOW}, "value": 1, "attributes": [1]}}', "'attributes' is not a JSON object"),
    ],
)
def test_a_json_line_at_fault_is_named(line: str, reason: str) -> None:
    (part,) = of_json(f"\n{line}\n")
    ((number, told),) = part.faults
    assert number == 2
    assert reason in told


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "no column 'timestamp'"),
        ("time,value", "no column 'timestamp'"),
        ("timestamp,value,value", "names 'value' twice"),
        ("timestamp,", "a column has no name"),
        ("timestamp,value", "there is no column 'metric', nor a parameter of that name"),
        ('"timestamp"x,value', "the header cannot be read"),
    ],
)
def test_a_header_that_is_none_is_refused_whole(header: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        of_csv(f"{header}\n1,2\n", Defaults())


def test_a_file_comes_in_slices() -> None:
    rows = "".join(f"{NOW - 30_000 + n},{n}\n" for n in range(2 * history.SLICE + 1))
    parts = of_csv(f"timestamp,value\n{rows}")
    assert [len(part.batch.blocks[0].keys) for part in parts] == [history.SLICE, history.SLICE, 1]
    assert parts[-1].places[0] == [2 * history.SLICE + 2]


def test_an_instant_is_what_it_says() -> None:
    at = datetime(2026, 5, 1, 12, tzinfo=UTC)
    wanted = int(at.timestamp() * 1e6)
    same = [
        "2026-05-01T12:00:00Z",
        "2026-05-01 12:00",
        "2026-05-01T14:00:00+02:00",
        at.timestamp(),
        str(wanted // 1_000_000),
        wanted // 1_000,
        wanted,
        wanted * 1_000,
    ]
    assert {history.instant(each) for each in same} == {wanted}
    assert history.instant("0.5") == 500_000
    for wrong in (None, True, [], "", "2026-13-01", "1e400", 2**63, float("nan")):
        with pytest.raises(Malformed):
            history.instant(wrong)
    assert timedelta(microseconds=history.instant(-1)) == timedelta(seconds=-1)
