"""Files in and out without a database: what is written is read as it was, and hostile files are refused."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import IO, Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from reqif.parser import ReqIFParser

from plumbline_requirements.interchange import csv_format, json_format, reports, reqif_format
from plumbline_requirements.interchange.records import LONGEST, Fault, Record, Unreadable

AT = datetime(2026, 5, 1, tzinfo=UTC)
SLO = {
    "name": "latency",
    "displayName": "",
    "indicator": {
        "thresholdMetric": {"metricSource": {"type": "Plumbline", "spec": {
            "metric": "m", "attributes": {}, "aggregation": "p95", "le": None}}},
        "ratioMetric": None,
    },
    "timeWindow": [{"duration": "30d", "isRolling": True}],
    "budgetingMethod": "Occurrences",
    "objectives": [{"displayName": "", "op": "lte", "value": 0.3, "target": 0.99, "timeSliceTarget": None,
                    "timeSliceWindow": None}],
}  # fmt: skip
ID = "0199a0b0-0000-7000-8000-000000000001"
Reader = Callable[[IO[bytes]], Iterator[Record | list[Fault]]]


def document(**members: Any) -> dict[str, Any]:
    return {
        "id": ID, "key": "REQ-1", "title": "Checkout answers", "description": "", "statement": "", "rationale": "",
        "type": "latency", "priority": "must", "owner_team": "payments", "service": None, "slos": [SLO],
        "verification_method": "", "labels": {"tier": "1"}, "status": "draft",
        "budget_policy": [{"spent": 0.5, "action": "=Only fixes\nare deployed"}], "revision": 3, "in_force": 2,
        "verdict": None, "fingerprint": "f", "created_at": "2026-05-01T00:00:00Z", "created_by": "alice",
        "updated_at": "2026-05-01T00:00:00Z", "updated_by": "alice", "reviewers": [], "warnings": [],
        "suspect_links": 0,
    } | members  # fmt: skip


def as_csv(documents: list[dict[str, Any]]) -> bytes:
    return csv_format.header() + csv_format.rows(documents)


def as_json(documents: list[dict[str, Any]]) -> bytes:
    return b"[\n" + json_format.objects(documents, first=True) + b"\n]\n"


def as_reqif(documents: list[dict[str, Any]]) -> bytes:
    places = reqif_format.places([each["id"] for each in documents], AT)
    return (
        reqif_format.opening(AT)
        + reqif_format.objects(documents)
        + reqif_format.OBJECTS_END
        + reqif_format.listing(AT)
        + places
        + reqif_format.closing()
    )


def records(reader: Reader, content: bytes) -> list[Record]:
    found = list(reader(io.BytesIO(content)))
    faults = [each for each in found if isinstance(each, list)]
    assert faults == []
    return [each for each in found if isinstance(each, Record)]


def refused(reader: Reader, content: bytes | str) -> tuple[int, str]:
    with pytest.raises(Unreadable) as error:
        list(reader(io.BytesIO(content if isinstance(content, bytes) else content.encode())))
    return error.value.line, error.value.reason


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
TITLES = TEXTS.map(str.strip).filter(bool)
FORMULAS = st.sampled_from(["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=1", "''", "'", "'x"])
DOCUMENTS = st.builds(
    document,
    id=st.uuids().map(str),
    title=TITLES | FORMULAS.map(str.strip),
    description=TEXTS | FORMULAS,
    statement=TEXTS,
    rationale=TEXTS,
    service=st.none() | TITLES,
    slos=st.sampled_from([[], [SLO]]),
    labels=st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=3),
)


def said(document: dict[str, Any]) -> dict[str, Any]:
    names = ("title", "description", "statement", "rationale", "type", "priority", "owner_team", "service", "slos",
             "budget_policy", "verification_method", "labels")  # fmt: skip
    return {name: document[name] for name in names}


@given(st.lists(DOCUMENTS, max_size=3))
def test_csv_and_json_are_read_as_they_were_written(documents: list[dict[str, Any]]) -> None:
    for reader, content in (
        (csv_format.read, as_csv(documents)),
        (json_format.read, as_json(documents)),
        (json_format.read_lines, json_format.object_lines(documents)),
    ):
        found = records(reader, content)
        assert [each.members for each in found] == [said(each) for each in documents]
        assert [str(each.id) for each in found] == [each["id"] for each in documents]


PRINTABLE = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="\ufffe\uffff"), max_size=30)
PROSE = st.lists(PRINTABLE.filter(bool), max_size=3).map("\n".join)


@settings(deadline=None)
@given(PRINTABLE.map(str.strip).filter(bool), PROSE, PROSE)
def test_reqif_is_read_as_it_was_written(title: str, description: str, statement: str) -> None:
    given = document(title=title, description=description, statement=statement)
    (found,) = records(reqif_format.read, as_reqif([given]))
    assert (found.id, found.key) == (UUID(ID), None)
    assert found.members == said(given)


def test_reqif_is_what_the_library_reads() -> None:
    nasty = document(title='<a> & "b" \x07', description="one\ntwo <b>", id="0199a0b0-0000-7000-8000-000000000002")
    bundle = ReqIFParser.parse_from_string(as_reqif([document(), nasty]).decode())
    content = bundle.core_content.req_if_content
    assert [each.identifier for each in content.spec_objects] == [f"_{ID}", f"_{nasty['id']}"]
    (specification,) = content.specifications
    assert [each.spec_object for each in specification.children] == [f"_{ID}", f"_{nasty['id']}"]
    values = content.spec_objects[1].attribute_map
    assert values["_plumbline-title"].value == '<a> & "b" \ufffd'
    etree.fromstring(as_reqif([nasty]))


REQIF = """<?xml version="1.0"?>
<REQ-IF xmlns="http://www.omg.org/spec/ReqIF/20110401/reqif.xsd" xmlns:x="http://www.w3.org/1999/xhtml">
<CORE-CONTENT><REQ-IF-CONTENT><DATATYPES>
<DATATYPE-DEFINITION-ENUMERATION IDENTIFIER="e"><SPECIFIED-VALUES>
<ENUM-VALUE IDENTIFIER="v" LONG-NAME="Must"/></SPECIFIED-VALUES></DATATYPE-DEFINITION-ENUMERATION>
</DATATYPES><SPEC-TYPES><SPEC-OBJECT-TYPE IDENTIFIER="t"><SPEC-ATTRIBUTES>
<ATTRIBUTE-DEFINITION-XHTML IDENTIFIER="a" LONG-NAME="ReqIF.Text"/>
<ATTRIBUTE-DEFINITION-ENUMERATION IDENTIFIER="p" LONG-NAME="PRIORITY"/>
<ATTRIBUTE-DEFINITION-STRING IDENTIFIER="u" LONG-NAME="Unknown"/>
</SPEC-ATTRIBUTES></SPEC-OBJECT-TYPE></SPEC-TYPES><SPEC-OBJECTS>
<SPEC-OBJECT IDENTIFIER="of-another-tool" LONG-NAME="Answers"><TYPE>
<SPEC-OBJECT-TYPE-REF>t</SPEC-OBJECT-TYPE-REF></TYPE><VALUES>
<ATTRIBUTE-VALUE-XHTML><THE-VALUE><x:div><x:p>It shall
 answer.</x:p><x:p>Soon.</x:p></x:div></THE-VALUE><DEFINITION>
<ATTRIBUTE-DEFINITION-XHTML-REF>a</ATTRIBUTE-DEFINITION-XHTML-REF></DEFINITION></ATTRIBUTE-VALUE-XHTML>
<ATTRIBUTE-VALUE-ENUMERATION><VALUES><ENUM-VALUE-REF>v</ENUM-VALUE-REF></VALUES><DEFINITION>
<ATTRIBUTE-DEFINITION-ENUMERATION-REF>p</ATTRIBUTE-DEFINITION-ENUMERATION-REF></DEFINITION>
</ATTRIBUTE-VALUE-ENUMERATION>
<ATTRIBUTE-VALUE-STRING THE-VALUE="x"><DEFINITION>
<ATTRIBUTE-DEFINITION-STRING-REF>u</ATTRIBUTE-DEFINITION-STRING-REF></DEFINITION></ATTRIBUTE-VALUE-STRING>
</VALUES></SPEC-OBJECT></SPEC-OBJECTS></REQ-IF-CONTENT></CORE-CONTENT></REQ-IF>"""


def test_reqif_of_another_tool_is_understood() -> None:
    (found,) = records(reqif_format.read, REQIF.encode())
    assert (found.id, found.key) == (None, None)
    assert found.members == {"title": "Answers", "statement": "It shall answer.\nSoon.", "priority": "must"}


BILLION = (
    '<?xml version="1.0"?><!DOCTYPE REQ-IF [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    '<REQ-IF xmlns="http://www.omg.org/spec/ReqIF/20110401/reqif.xsd">&b;</REQ-IF>'
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BILLION, "DOCTYPE"),
        ("<!-- " + "x" * 100_000 + " -->" + BILLION.partition("?>")[2], "DOCTYPE"),
        (BILLION.replace("ha", "SYSTEM 'file:///etc/passwd'").encode("utf-16"), "DOCTYPE"),
        ("<a>" * 10_000, "not XML"),
        ("<REQ-IF>", "not XML"),
        ("<html/>", "must be a REQ-IF document"),
        ("", "not XML"),
        ("{}", "not XML"),
        (REQIF.replace("</SPEC-OBJECT>", ""), "not XML"),
    ],
)
def test_hostile_xml_is_refused(content: str | bytes, reason: str) -> None:
    assert reason in refused(reqif_format.read, content)[1]


def test_a_damaged_spec_object_is_a_fault_with_its_line() -> None:
    content = REQIF.replace("<SPEC-OBJECT-TYPE-REF>t</SPEC-OBJECT-TYPE-REF></TYPE>", "</TYPE>")
    ((fault,),) = list(reqif_format.read(io.BytesIO(content.encode())))
    assert isinstance(fault, Fault)
    assert (fault.line, "is no SPEC-OBJECT" in fault.reason) == (11, True)


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("", 1, "is empty"),
        ("title,colour\n", 1, "there is no column 'colour'"),
        ("title,title\n", 1, "comes twice"),
        ("description\n", 1, "the column title is missing"),
        ("title\n" + "x" * (LONGEST + 1), 2, "is longer than"),
        ('title\n"' + "x\n" * LONGEST, 2, "is a quote missing?"),
        ('title\n"a" b\n', 2, "is not CSV"),
        (b"title\n\xff\n", 2, "is not UTF-8"),
    ],
)
def test_hostile_csv_is_refused(content: str | bytes, line: int, reason: str) -> None:
    found_line, found = refused(csv_format.read, content)
    assert (found_line, reason in found) == (line, True), found


def faults(reader: Reader, content: str) -> list[tuple[int, str]]:
    found = list(reader(io.BytesIO(content.encode())))
    return [(each.line, each.member) for some in found if isinstance(some, list) for each in some]


def test_each_fault_of_a_row_has_its_line_and_its_column() -> None:
    content = 'title,type,labels,id,slos\nA,latency,,,\n"B\nB",fast,{,x,[]\nC,latency\n,other,,,\n'
    assert faults(csv_format.read, content) == [(3, "/labels"), (5, ""), (6, "/title")]
    content = content.replace("{", "")
    assert faults(csv_format.read, content) == [(3, "/id"), (3, "/type"), (5, ""), (6, "/title")]
    twice = 'title,labels\nA,"{""a"": ""1"", ""a"": ""2""}"\n'
    assert faults(csv_format.read, twice) == [(2, "/labels")]


def test_csv_of_spreadsheets_is_read() -> None:
    content = '\ufefftitle;description;service\r\n"A; b";"one\r\ntwo";\r\n;;\r\n'
    (found,) = records(csv_format.read, content.encode())
    assert found.members == {"title": "A; b", "description": "one\r\ntwo", "service": None}


def test_formulas_are_neutralised() -> None:
    (row,) = list(csv.DictReader(io.StringIO(as_csv([document(title="=HYPERLINK(1)", service="@x")]).decode())))
    assert (row["title"], row["service"]) == ("'=HYPERLINK(1)", "'@x")


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("", 1, "must be an array"),
        ("1", 1, "must be an array"),
        ('[\n{"title": "a"}\n', 3, "a comma or ] is missing"),
        ('[{"title": "a"},]', 1, "nothing behind the last comma"),
        ('[{"title": "a"} {"title": "b"}]', 1, "a comma or ] is missing"),
        ('[]\n{"title": "a"}', 2, "more behind its end"),
        ('[\n{"title": "a", "title": "b"}]', 2, "comes twice"),
        ('[{"title": NaN}]', 1, "NaN is no JSON"),
        ('[{"a": ' + "[" * 100_000, 1, "nested too deep"),
        ('["' + "x" * (2 * LONGEST) + '"]', 1, "at most"),
        (b'[{"title": "\xff"}]', 1, "is not UTF-8"),
    ],
)
def test_hostile_json_is_refused(content: str | bytes, line: int, reason: str) -> None:
    found_line, found = refused(json_format.read, content)
    assert (found_line, reason in found) == (line, True), found


def test_what_json_gets_wrong_is_told_by_line() -> None:
    content = '[{"title": "a", "colour": 1},\n\n{"title": ""},\n3, {"title": "b", "slos": [{"name": "x"}]}]'
    assert faults(json_format.read, content)[:3] == [(1, "/colour"), (3, "/title"), (4, "")]
    assert faults(json_format.read, content)[3] == (4, "/slos/0/timeWindow")
    lines = '{"title": "a"}\n{"title": "b"} x\n{\n' + "[" * 100_000 + '\n{"title": "a", "title": "b"}'
    assert [line for line, _ in faults(json_format.read_lines, lines)] == [2, 3, 4, 5]


@given(st.lists(TEXTS, max_size=6), st.sampled_from(["", " ", "\n"]), st.booleans())
def test_json_of_any_layout_is_read(titles: list[str], blank: str, ascii: bool) -> None:
    values = [json.dumps({"description": title}, ensure_ascii=ascii) for title in titles]
    content = f"{blank}[{blank}{f'{blank},{blank}'.join(values)}{blank}]{blank}"
    found = records(json_format.read, content.encode())
    assert [each.members["description"] for each in found] == titles


def test_large_json_is_read_in_parts() -> None:
    documents = [document(description="ä€😀" * 2000, key=f"REQ-{number}") for number in range(1, 200)]
    found = records(json_format.read, as_json(documents))
    assert [each.key for each in found] == [each["key"] for each in documents]
    assert [each.line for each in found][:3] == [2, 3, 4]


VERDICT = {"state": "AT_RISK", "reason": "It <burns>."}


def test_reports_show_all_and_run_nothing() -> None:
    given = document(
        title="<script>alert(1)</script>", statement="# not a heading", description="1. no *list*", verdict=VERDICT
    )
    html = (
        reports.opening("html", AT, ["status draft"]) + reports.sections("html", [given]) + reports.closing("html", 1)
    )
    text = html.decode()
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert '<span class="verdict AT_RISK">AT_RISK</span> It &lt;burns&gt;.' in text
    assert "99 % of p95 of m at most 0.3, over 30 days" in text
    assert text.endswith("<p>1 requirement</p>\n</body>\n</html>\n")
    etree.fromstring(text.replace("<!doctype html>", "").replace('<meta charset="utf-8">', "").replace(
        'scale=1">', 'scale=1"/>').replace("<hr>", "<hr/>").encode())  # fmt: skip
    markdown = (reports.opening("markdown", AT, []) + reports.sections("markdown", [given])).decode()
    assert r"## REQ-1: \<script\>alert(1)\</script\>" in markdown
    assert r"**\# not a heading**" in markdown
    assert r"1\. no" in markdown or r"\1. no \*list\*" in markdown
    assert "- latency: 99 % of p95 of m at most 0.3, over 30 days" in markdown


def test_an_empty_export_is_whole() -> None:
    assert orjson.loads(b"[\n" + b"]\n") == []
    assert records(csv_format.read, as_csv([])) == []
    assert records(reqif_format.read, as_reqif([])) == []
