import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.moments import moment
from plumbline_analysis.sources import json_lines, lines
from plumbline_analysis.sources.batch import Window
from plumbline_analysis.sources.lines import Line
from plumbline_common.errors import TooLarge
from plumbline_common.schemas import utc

NOW = 1_800_000_000 * 10**6
WINDOW = Window.around(NOW / 1e6, 48, 10)


def one(**given: Any) -> Line:
    found = json_lines.decode(orjson.dumps({"msg": "door opened"} | given), WINDOW, NOW)
    assert found.rejected == []
    (line,) = found.accepted
    return line


def refused(text: str) -> str:
    ((number, reason),) = json_lines.decode(b"\n" + text.encode(), WINDOW, NOW).rejected
    assert number == 2
    return reason


def test_what_is_not_named_is_an_attribute() -> None:
    line = one(user="ann", tries=2, ok=True, at={"b": 1, "a": [None]}, level="info", service="shop", time=NOW)
    assert (line.service, line.severity, line.body) == ("shop", 9, b"door opened")
    assert orjson.loads(line.attributes) == {"user": "ann", "tries": "2", "ok": "true", "at": '{"a":[null],"b":1}'}


@pytest.mark.parametrize("name", ["time", "timestamp", "@timestamp"])
@pytest.mark.parametrize(
    ("given", "microseconds"),
    [
        (NOW // 10**6, 0),
        (NOW / 10**6 + 0.25, 250_000),
        (NOW // 1000 + 3, 3_000),
        (NOW + 7, 7),
        (NOW * 1000 + 7_999, 7),
        (utc(moment(NOW + 9)), 9),
        ("2027-01-15T09:00:00.000011+01:00", 11),
        (None, 0),
    ],
)
def test_times_are_rfc_3339_or_numbers_of_any_usual_unit(name: str, given: Any, microseconds: int) -> None:
    assert one(**{name: given}).time == NOW + microseconds


def test_the_message_is_the_first_that_is_given() -> None:
    assert one(body="a", message="b").body == b"a"
    assert one(body=None, message="b").body == b"b"
    assert one(body={"b": [1]}).body == b'{"b":[1]}'
    assert one(message=7).body == b"7"
    assert one(message="a\x00ä").body == "a ä".encode()
    assert one(message="x" * 10_000_000).body == b"x" * lines.MAX_BODY


@pytest.mark.parametrize(
    ("given", "severity"),
    [("ERROR", 17), (" Warning ", 13), ("loud", 0), (17, 17), (25, 0), (0, 0), (True, 0), (None, 0), ([1], 0)],
)
def test_severities_are_names_or_numbers(given: Any, severity: int) -> None:
    assert one(level=given).severity == severity


def test_services_are_named_in_the_usual_ways() -> None:
    assert one(**{"service.name": "a", "service": "b"}).service == "a"
    assert one(service={"name": "b", "version": "1"}).service == "b"
    assert one(service="").service == one().service == lines.UNKNOWN_SERVICE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "none of body, message, msg is given"),
        ('{"msg": "a", "service": 7}', "the service is neither a string nor an object with a name"),
        ('{"msg": "a", "service": "a\\u0000"}', "the service's name holds the NUL character"),
        ('{"msg": "a", "time": "2027-01-15"}', "the time is not RFC 3339 with a zone"),
        ('{"msg": "a", "time": "0001-01-01T00:00:00+23:59"}', "the time is not RFC 3339 with a zone"),
        ('{"msg": "a", "time": true}', "the time is neither RFC 3339 nor a number since 1970"),
        ('{"msg": "a", "time": -1}', "the time is neither RFC 3339 nor a number since 1970"),
        ('{"msg": "a", "time": 1e300}', "the time is neither RFC 3339 nor a number since 1970"),
        ('{"msg": "a", "time": 1}', "the time is more than 48 h in the past"),
    ],
)
def test_each_line_that_cannot_be_taken_is_named(text: str, reason: str) -> None:
    assert refused(text).startswith(reason)


def test_the_others_are_taken_with_their_numbers() -> None:
    found = json_lines.decode(b'{"msg": "a"}\r\n\n[]\n{"msg": "b"}', WINDOW, NOW)
    assert [(number, line.body) for number, line in zip(found.numbers, found.accepted, strict=True)] == [
        (1, b"a"),
        (4, b"b"),
    ]


def test_too_many_lines_are_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINES", 3)
    with pytest.raises(TooLarge, match="more than 3 lines"):
        json_lines.decode(b"{}\n" * 4, WINDOW, NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["time", "timestamp", "body", "msg", "level", "service", "service.name", "x"])


@given(st.binary(max_size=200) | st.dictionaries(NAMES, JSON).map(lambda each: json.dumps(each).encode()))
def test_any_line_is_taken_or_named(body: bytes) -> None:
    found = json_lines.decode(body, WINDOW, NOW)
    for line in found.accepted:
        assert "\x00" not in line.body.decode()
        assert b"\\u0000" not in line.attributes.replace(b"\\\\", b"")
        assert WINDOW.earliest <= line.time <= WINDOW.latest
    assert len(found.accepted) + len(found.rejected) == len([each for each in body.split(b"\n") if each.strip()])
