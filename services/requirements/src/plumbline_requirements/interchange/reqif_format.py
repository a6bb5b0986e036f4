"""Requirements as ReqIF 1.2 (OMG formal/16-07-01), one specification, in the `reqif` library's words. Pure.

The library holds a whole file as objects and writes it as one text. Here its parsers and writers are called element
by element, so that a file of any length goes through bounded memory.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from typing import IO, Any
from uuid import UUID

import orjson
from lxml import etree
from reqif.models.error_handling import ReqIFMissingTagException
from reqif.models.reqif_data_type import ReqIFDataTypeDefinitionString, ReqIFDataTypeDefinitionXHTML
from reqif.models.reqif_namespace_info import ReqIFNamespaceInfo
from reqif.models.reqif_reqif_header import ReqIFReqIFHeader
from reqif.models.reqif_spec_hierarchy import ReqIFSpecHierarchy
from reqif.models.reqif_spec_object import ReqIFSpecObject, SpecObjectAttribute
from reqif.models.reqif_spec_object_type import ReqIFSpecObjectType, SpecAttributeDefinition
from reqif.models.reqif_spec_relation import ReqIFSpecRelation
from reqif.models.reqif_spec_relation_type import ReqIFSpecRelationType
from reqif.models.reqif_specification_type import ReqIFSpecificationType
from reqif.models.reqif_types import SpecObjectAttributeType
from reqif.parsers.data_type_parser import DataTypeParser
from reqif.parsers.header_parser import ReqIFHeaderParser
from reqif.parsers.spec_hierarchy_parser import ReqIFSpecHierarchyParser
from reqif.parsers.spec_object_parser import SpecObjectParser
from reqif.parsers.spec_relation_parser import SpecRelationParser
from reqif.parsers.spec_types.spec_object_type_parser import SpecObjectTypeParser
from reqif.parsers.spec_types.spec_relation_type_parser import SpecRelationTypeParser
from reqif.parsers.spec_types.specification_type_parser import SpecificationTypeParser
from reqif.unparser import ReqIFUnparser

from plumbline_requirements.interchange import csv_format
from plumbline_requirements.interchange.records import LONGEST, Fault, Read, Record, Relation, Unreadable, record
from plumbline_requirements.links.rules import LinkType

_SPACE = "{http://www.omg.org/spec/ReqIF/20110401/reqif.xsd}"
_STRING, _XHTML = "_plumbline-string", "_plumbline-xhtml"
_OBJECT_TYPE, _SPECIFICATION_TYPE, _SPECIFICATION = (
    f"_plumbline-{name}" for name in ("requirement", "document", "requirements")
)
# By the names that the implementation guide of prostep ivip and StrictDoc know, where there are any.
_NAMES = {
    "key": "ReqIF.ForeignID",
    "title": "ReqIF.Name",
    "statement": "ReqIF.Text",
    **{name: name.upper() for name in ("description", "rationale", "verification_method", "type", "priority")},
    **{name: name.upper() for name in ("owner_team", "service", "status", "slos", "budget_policy", "labels")},
}
_PROSE = ("statement", "description", "rationale", "verification_method")
_MEMBERS = {long_name: name for name, long_name in _NAMES.items()} | {
    "ReqIF.ChapterName": "title",
    "TITLE": "title",
    "STATEMENT": "statement",
    "ReqIF.Description": "description",
}
_LINKS = {each.value: each for each in LinkType} | {"parent": LinkType.REFINES}
"""By the long name of a type of relation; StrictDoc's children name their parent."""
_READ = ("SPEC-OBJECT", "SPEC-OBJECT-TYPE", "DATATYPE-DEFINITION-ENUMERATION", "SPEC-RELATION", "SPEC-RELATION-TYPE")
_NOT_AS_EXPECTED = (AssertionError, AttributeError, IndexError, KeyError, NotImplementedError, TypeError)
"""What the library raises."""
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


# --- Out ------------------------------------------------------------------------------------------------


def opening(at: datetime) -> bytes:
    """All that stands before the requirements."""
    moment = _moment(at)
    definitions = [
        SpecAttributeDefinition.create(
            attribute_type=SpecObjectAttributeType.XHTML if name in _PROSE else SpecObjectAttributeType.STRING,
            identifier=_definition(name),
            datatype_definition=_XHTML if name in _PROSE else _STRING,
            long_name=long_name,
        )
        for name, long_name in _NAMES.items()
    ]
    for definition in definitions:
        definition.last_change = moment
    string = ReqIFDataTypeDefinitionString(
        identifier=_STRING, last_change=moment, long_name="String", max_length=str(LONGEST)
    )
    xhtml = ReqIFDataTypeDefinitionXHTML(identifier=_XHTML, last_change=moment, long_name="XHTML")
    header = ReqIFReqIFHeader(
        identifier="_plumbline-header",
        creation_time=moment,
        req_if_tool_id="Plumbline",
        req_if_version="1.0",
        source_tool_id="Plumbline",
        title="Requirements",
    )
    object_type = ReqIFSpecObjectType.create(
        identifier=_OBJECT_TYPE, long_name="REQUIREMENT", attribute_definitions=definitions
    )
    object_type.last_change = moment
    specification_type = ReqIFSpecificationType(
        identifier=_SPECIFICATION_TYPE, last_change=moment, long_name="Document", spec_attributes=None
    )
    link_types = [
        ReqIFSpecRelationType(identifier=_definition(each), last_change=moment, long_name=each) for each in LinkType
    ]
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        ReqIFUnparser.unparse_namespace_info(ReqIFNamespaceInfo.create_default()),
        ReqIFHeaderParser.unparse(header),
        "  <CORE-CONTENT>\n    <REQ-IF-CONTENT>\n      <DATATYPES>\n",
        DataTypeParser.unparse(string),
        DataTypeParser.unparse(xhtml),
        "      </DATATYPES>\n      <SPEC-TYPES>\n",
        SpecObjectTypeParser.unparse(object_type),
        SpecificationTypeParser.unparse(specification_type),
        *map(SpecRelationTypeParser.unparse, link_types),
        "      </SPEC-TYPES>\n      <SPEC-OBJECTS>\n",
    ]
    return "".join(parts).encode()


def objects(documents: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(SpecObjectParser.unparse(_object(document)) for document in documents).encode()


OBJECTS_END = b"      </SPEC-OBJECTS>\n"
RELATIONS_BEGIN, RELATIONS_END = b"      <SPEC-RELATIONS>\n", b"      </SPEC-RELATIONS>\n"


def relations(links: Sequence[Mapping[str, Any]]) -> bytes:
    """Links between requirements that are written: `id`, `type`, `source_id`, `target_id`, `updated_at`."""
    return "".join(
        SpecRelationParser.unparse(
            ReqIFSpecRelation(
                identifier=_identifier(f"link-{each['id']}"),
                relation_type_ref=_definition(each["type"]),
                source=_identifier(each["source_id"]),
                target=_identifier(each["target_id"]),
                last_change=_moment(each["updated_at"]),
            )
        )
        for each in links
    ).encode()


def listing(at: datetime) -> bytes:
    """The beginning of the list of requirements."""
    moment = _moment(at)
    return (
        "      <SPECIFICATIONS>\n"
        f'        <SPECIFICATION IDENTIFIER="{_SPECIFICATION}" LAST-CHANGE="{moment}" LONG-NAME="Requirements">\n'
        f"          <TYPE>\n            <SPECIFICATION-TYPE-REF>{_SPECIFICATION_TYPE}</SPECIFICATION-TYPE-REF>\n"
        "          </TYPE>\n          <CHILDREN>\n"
    ).encode()


def places(ids: Sequence[str], at: datetime) -> bytes:
    """The requirements' places in the list."""
    moment = _moment(at)
    return "".join(
        ReqIFSpecHierarchyParser.unparse(
            ReqIFSpecHierarchy(
                identifier=f"_place-{id}", spec_object=_identifier(id), children=None, level=1, last_change=moment
            )
        )
        for id in ids
    ).encode()


def closing() -> bytes:
    return (
        b"          </CHILDREN>\n        </SPECIFICATION>\n      </SPECIFICATIONS>\n"
        b"    </REQ-IF-CONTENT>\n  </CORE-CONTENT>\n</REQ-IF>\n"
    )


def _object(document: Mapping[str, Any]) -> ReqIFSpecObject:
    attributes = []
    for name in _NAMES:
        value = document[name]
        if value in (None, "", [], {}):
            continue
        if name in _PROSE:
            attributes.append(
                SpecObjectAttribute(SpecObjectAttributeType.XHTML, _definition(name), _as_xhtml(str(value)))
            )
            continue
        text = orjson.dumps(value).decode() if name in csv_format.JSON_CELLS else str(value)
        # An attribute of XML has no line breaks.
        text = re.sub(r"[\r\n]+", " ", _clean(text))
        attributes.append(SpecObjectAttribute(SpecObjectAttributeType.STRING, _definition(name), text))
    return ReqIFSpecObject(
        identifier=_identifier(document["id"]),
        attributes=attributes,
        spec_object_type=_OBJECT_TYPE,
        last_change=document["updated_at"],
        long_name=escape(re.sub(r"\s+", " ", _clean(document["title"]))),
    )


def _as_xhtml(text: str) -> str:
    broken = escape(_clean(text), quote=False).replace("\r\n", "\n").replace("\n", "<xhtml:br/>")
    return f"<xhtml:div>{broken}</xhtml:div>"


def _clean(text: str) -> str:
    """Without what XML cannot hold."""
    return _NO_XML.sub("\ufffd", text)


def _definition(name: str) -> str:
    return f"_plumbline-{name}"


def _identifier(id: str) -> str:
    return f"_{id}"


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- In -------------------------------------------------------------------------------------------------


def read(file: IO[bytes]) -> Read:
    """The records of a file, of this or of another tool, and what links them. Raises `Unreadable`.

    Attributes and types of links are known by their long names. What no member has is passed over. Neither document
    types nor entities are taken.
    """
    names: dict[str, str] = {}
    choices: dict[str, str] = {}
    links: dict[str, LinkType] = {}
    line = 1
    try:
        tags = [f"{_SPACE}{name}" for name in _READ]
        context = etree.iterparse(
            _NoDoctype(file), events=("end",), tag=tags, resolve_entities=False, load_dtd=False, no_network=True,
            huge_tree=False, remove_comments=True, remove_pis=True,
        )  # fmt: skip
        for _, element in context:
            line = element.sourceline or line
            tag = element.tag.removeprefix(_SPACE)
            if tag == "SPEC-OBJECT":
                yield _record(element, line, names, choices)
            elif tag == "SPEC-RELATION":
                yield _relation(element, line, links)
            elif tag == "SPEC-RELATION-TYPE":
                if type := _LINKS.get(element.get("LONG-NAME", "").lower()):
                    links[element.get("IDENTIFIER", "")] = type
            elif tag == "SPEC-OBJECT-TYPE":
                names |= {
                    each.get("IDENTIFIER", ""): _MEMBERS[each.get("LONG-NAME", "")]
                    for each in element.iter()
                    if each.get("LONG-NAME") in _MEMBERS
                }
            else:
                choices |= {
                    each.get("IDENTIFIER", ""): each.get("LONG-NAME", "")
                    for each in element.iter(f"{_SPACE}ENUM-VALUE")
                }
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
        if context.root is None or context.root.tag != f"{_SPACE}REQ-IF":
            raise Unreadable(f"must be a REQ-IF document of {_SPACE.strip('{}')}", 1)
    except etree.XMLSyntaxError as error:
        raise Unreadable(f"is not XML: {error.msg}", error.lineno or line) from None


def _relation(element: Any, line: int, links: Mapping[str, LinkType]) -> Relation | list[Fault]:
    try:
        found = SpecRelationParser.parse(_plain(element))
    except (*_NOT_AS_EXPECTED, ReqIFMissingTagException) as error:
        return [Fault(line, "", f"is no SPEC-RELATION as ReqIF has it ({type(error).__name__})")]
    return Relation(line, found.source or "", found.target or "", links.get(found.relation_type_ref))


def _plain(element: Any) -> Any:
    """With ReqIF's own tags as the library knows them."""
    for each in element.iter():
        if isinstance(each.tag, str) and each.tag.startswith(_SPACE):
            each.tag = each.tag.removeprefix(_SPACE)
    return element


class _NoDoctype:
    """A file without a document type: entities are declared in one, and bombs are made of entities."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._before = file, b""
        self._root = False

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        if not self._root:
            seen = self._before + block
            if b"<!DOCTYPE" in seen or b"<\x00!\x00D" in seen or b"\x00<\x00!\x00D" in seen:
                raise Unreadable("has a document type (DOCTYPE), which is not taken", seen.count(b"\n") or 1)
            self._root = b"<REQ-IF" in seen or b":REQ-IF" in seen
            self._before = seen[-32:]
        return block


def _record(element: Any, line: int, names: Mapping[str, str], choices: Mapping[str, str]) -> Record | list[Fault]:
    try:
        found = SpecObjectParser.parse(_plain(element))
    except _NOT_AS_EXPECTED as error:
        return [Fault(line, "", f"is no SPEC-OBJECT as ReqIF has it ({type(error).__name__})")]
    given: dict[str, Any] = {}
    faults: list[Fault] = []
    for attribute in found.attributes:
        name = names.get(attribute.definition_ref)
        if name is None or (given.get(name)):
            continue
        try:
            given[name] = _value(name, attribute, choices)
        except ValueError as error:
            faults.append(Fault(line, f"/{name}", f"is not JSON: {error}"))
    if faults:
        return faults
    key = given.pop("key", None)
    given.pop("status", None)
    if "title" not in given and found.long_name:
        given["title"] = found.long_name
    for name in ("type", "priority"):
        if name in given:
            given[name] = str(given[name]).lower()
    id = _id(found.identifier)
    if id is not None or (isinstance(key, str) and re.fullmatch(r"REQ-[1-9][0-9]{0,17}", key)):
        given |= {"id": id} if id is not None else {"key": key}
    # What is not there is empty: ReqIF leaves empty attributes out.
    for name in set(names.values()) - {*given, "key", "status", "title"}:
        given[name] = {**csv_format.JSON_CELLS, "type": "other", "priority": "should"}.get(
            name, None if name in ("owner_team", "service") else ""
        )
    made = record(line, given)
    return replace(made, name=found.identifier) if isinstance(made, Record) else made


def _value(name: str, attribute: SpecObjectAttribute, choices: Mapping[str, str]) -> Any:
    value = attribute.value
    if isinstance(value, list):
        return ", ".join(choices.get(each, each) for each in value)
    if attribute.attribute_type == SpecObjectAttributeType.XHTML:
        value = _from_xhtml(attribute.xml_node)
    if name in csv_format.JSON_CELLS:
        return csv_format.json_of(value)
    return value


def _from_xhtml(node: Any) -> str:
    """The text, with a line break for each `br` and between blocks."""
    parts: list[str] = []

    def walk(element: Any) -> None:
        tag = etree.QName(element).localname if isinstance(element.tag, str) else ""
        if tag == "br" or (tag in ("p", "div", "li", "ul", "ol", "table", "tr") and "".join(parts).strip()):
            parts.append("\n")
        parts.append(re.sub(r"\s*\n\s*", " ", element.text or "") if tag != "pre" else element.text or "")
        for child in element:
            walk(child)
            parts.append(re.sub(r"\s*\n\s*", " ", child.tail or ""))

    value = node.find("THE-VALUE")
    for child in value if value is not None else ():
        walk(child)
    return "".join(parts).strip("\n")


def _id(identifier: str) -> UUID | None:
    try:
        return UUID(identifier.removeprefix("_"))
    except ValueError:
        return None
