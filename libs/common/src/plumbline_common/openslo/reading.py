"""YAML 1.2 (core schema) and JSON, each value with its place; for text of which nothing is known.

The parsers are PyYAML's and the standard library's. Their loaders recurse with the text's nesting, expand aliases
without a bound, let a later key overwrite an earlier one and turn `on` and dates into what nobody wrote; so the
values are put together here, from the parsers' events, iteratively and within bounds.
"""

import bisect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

DEEPEST = 64
"""Levels of nesting; people write fewer than 20."""
MOST_VALUES = 1_000_000
"""With every alias counted as all that it stands for."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = re.compile(r"|~|null|Null|NULL")
BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_STRING, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "map", "seq", "merge")}
_LONGEST_NUMBER = 400
"""Characters; a float has at most 17 that count, and what is beyond 10^308 is none."""


class Unreadable(ValueError):
    """What is wrong with the text as YAML or JSON, or which bound it goes beyond. `line`, `column` count from 1."""

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {reason}")
        self.reason, self.line, self.column = reason, line, column


@dataclass(eq=False, slots=True)
class Node:
    """A value where it stands. `text`: a plain scalar as it was written. `members` or `items`: what it has inside.

    There are hundreds of thousands in a large text, and each pause of the garbage collector looks at all of them: a
    scalar has no dictionary of its own.
    """

    line: int
    column: int
    value: Any = None
    text: str | None = None
    members: dict[str, "Node"] | None = None
    items: list["Node"] | None = None
    keys: dict[str, tuple[int, int]] | None = None
    """Of a mapping: where the name of each member stands."""
    size: int = 1
    height: int = 1

    def plain(self) -> Any:
        """The value as JSON has it."""
        if self.members is not None:
            return {name: node.plain() for name, node in self.members.items()}
        if self.items is not None:
            return [node.plain() for node in self.items]
        return self.value

    def place(self, path: tuple[str | int, ...]) -> tuple[int, int]:
        """Line and column of the member at `path`, at its name; of what it should be in, where there is none."""
        node, found = self, (self.line, self.column)
        for part in path:
            if node.members is not None and part in node.members:
                found, node = (node.keys or {}).get(str(part), found), node.members[str(part)]
            elif node.items is not None and isinstance(part, int) and part < len(node.items):
                node = node.items[part]
                found = (node.line, node.column)
            else:
                break
        return found


class _Event(NamedTuple):
    kind: str
    """`{`, `}`, `[`, `]`, `value`, `alias`, `document`."""
    line: int
    column: int
    value: Any = None
    text: str | None = None
    anchor: str | None = None


def read(text: str) -> list[Node]:
    """The documents of a YAML or JSON text, empty ones left out. Raises `Unreadable`."""
    return list(one_by_one(text))


def one_by_one(text: str) -> Iterator[Node]:
    """Like `read`, each document as soon as it was read: `Unreadable` comes after those before it.

    A text that begins with `{` or `[` is JSON (one value or several) where it is; else it is YAML, of one or more
    documents, with anchors, aliases and merge keys.
    """
    text = text.removeprefix("\ufeff")
    for found in re.finditer("[\ud800-\udfff]", text):
        raise _at("is not Unicode: half of a surrogate pair", *_place(text, found.start()))
    if text.lstrip(" \t\r\n")[:1] in ("{", "["):
        try:
            end = 0
            while (start := _skip_blanks(text, end)) < len(text):
                end = _STRICT.raw_decode(text, start)[1]
        except (ValueError, RecursionError) as error:
            if isinstance(error, RecursionError):
                raise _at("is nested too deep", *_place(text, 0)) from None
            try:
                return iter(list(_built(_yaml_events(text))))
            except Unreadable:
                raise _not_json(text, error) from None
        return _built(_json_events(text))
    return _built(_yaml_events(text))


def _at(reason: str, line: int, column: int) -> Unreadable:
    return Unreadable(reason, line, column)


def _place(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


# --- JSON -----------------------------------------------------------------------------------------------


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


_STRICT = json.JSONDecoder(
    parse_constant=_refuse_constant,
    parse_int=lambda _: 0,
    parse_float=lambda _: 0.0,
    object_pairs_hook=lambda _: None,
)
"""Says whether it is JSON; the values are made of the tokens, which have places."""
_TOKEN = re.compile(
    r'(?P<structure>[{}\[\]])|(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>-?[0-9][0-9.eE+-]*)|(?P<word>true|false|null)',
    re.DOTALL,
)
_WORDS = {"true": True, "false": False, "null": None}


def _skip_blanks(text: str, start: int) -> int:
    while start < len(text) and text[start] in " \t\r\n":
        start += 1
    return start


def _not_json(text: str, error: ValueError) -> Unreadable:
    if isinstance(error, json.JSONDecodeError):
        return _at(f"is neither JSON nor YAML: {error.msg}", error.lineno, error.colno)
    return _at(f"is neither JSON nor YAML: {error}", *_place(text, 0))


def _json_events(text: str) -> Iterator[_Event]:
    breaks = [0, *(found.end() for found in re.finditer("\n", text))]
    depth = 0
    for token in _TOKEN.finditer(text):
        line = bisect.bisect_right(breaks, token.start())
        column = token.start() - breaks[line - 1] + 1
        if depth == 0:
            yield _Event("document", line, column)
        written = token[0]
        if token["structure"]:
            depth += 1 if written in "{[" else -1
            yield _Event(written, line, column)
        elif token["string"]:
            yield _Event("value", line, column, json.loads(written, strict=False), None)
        elif token["number"]:
            yield _Event("value", line, column, _number(written, line, column), written)
        else:
            yield _Event("value", line, column, _WORDS[written], written)


# --- YAML -----------------------------------------------------------------------------------------------


def _yaml_events(text: str) -> Iterator[_Event]:
    try:
        for event in yaml.parse(text, Loader=_Loader):
            mark = event.start_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            if isinstance(event, yaml.ScalarEvent):
                yield _scalar(event, line, column)
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                _check_tag(event.tag, line, column)
                kind = "{" if isinstance(event, yaml.MappingStartEvent) else "["
                yield _Event(kind, line, column, anchor=event.anchor)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                yield _Event("}" if isinstance(event, yaml.MappingEndEvent) else "]", line, column)
            elif isinstance(event, yaml.AliasEvent):
                yield _Event("alias", line, column, anchor=event.anchor)
            elif isinstance(event, yaml.DocumentStartEvent):
                yield _Event("document", line, column)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = f"is not YAML: {error.problem or error.context}"
        raise _at(reason, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1) from None
    except yaml.reader.ReaderError as error:
        at = error.position if isinstance(error.position, int) else 0
        shown = f"U+{error.character:04X}" if isinstance(error.character, int) else repr(error.character)
        raise _at(f"is not YAML: the character {shown} is not allowed", *_place(text, at)) from None


def _check_tag(tag: str | None, line: int, column: int) -> None:
    if tag not in (None, "!") and tag not in _TAGS:
        raise _at(f"has the tag {tag}, which stands for no value of JSON", line, column)


def _scalar(event: yaml.ScalarEvent, line: int, column: int) -> _Event:
    _check_tag(event.tag, line, column)
    written = event.value
    plain = event.implicit[0] and event.tag is None
    if plain or (event.tag in _TAGS and event.tag not in (_STRING, _MERGE)):
        return _Event("value", line, column, _core(written, line, column), written, event.anchor)
    return _Event("value", line, column, written, None, event.anchor)


def _core(written: str, line: int, column: int) -> Any:
    """What a plain scalar is in YAML 1.2's core schema. Dates, `on` and `12:30` are text, and so is `.inf`."""
    if _NULL.fullmatch(written):
        return None
    if BOOL.fullmatch(written):
        return written[0] in "tT"
    if INT.fullmatch(written) or FLOAT.fullmatch(written):
        return _number(written, line, column)
    return written


def _number(written: str, line: int, column: int) -> int | float:
    if len(written) > _LONGEST_NUMBER:
        raise _at("is a number of too many digits", line, column)
    if INT.fullmatch(written):
        return int(written, {"0o": 8, "0x": 16}.get(written[:2], 10))
    value = float(written)
    if value in (float("inf"), float("-inf")):
        raise _at("is a number beyond what a float holds", line, column)
    return value


# --- Values ---------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Open:
    """A mapping or sequence whose end has not come."""

    node: Node
    anchor: str | None
    key: str | None = None
    merges: list[Node] = field(default_factory=list)
    merging: bool = False


def _built(events: Iterator[_Event]) -> Iterator[Node]:
    opened: list[_Open] = []
    anchors: dict[str, Node | None] = {}
    total = 0
    for event in events:
        if event.kind == "document":
            anchors = {}
            continue
        if event.kind in "}]":
            done = opened.pop()
            node = _closed(done)
            if done.anchor:
                anchors[done.anchor] = node
        elif event.kind in "{[":
            if len(opened) >= DEEPEST:
                raise _at(f"is nested deeper than {DEEPEST} levels", event.line, event.column)
            if opened and opened[-1].node.members is not None and opened[-1].key is None and not opened[-1].merging:
                raise _at("is a mapping or a list where the name of a member belongs", event.line, event.column)
            empty: dict[str, Any] = {"members": {}, "keys": {}} if event.kind == "{" else {"items": []}
            opened.append(_Open(Node(event.line, event.column, **empty), event.anchor))
            if event.anchor:
                anchors[event.anchor] = None
            continue
        elif event.kind == "alias":
            assert event.anchor is not None
            if event.anchor not in anchors:
                raise _at(f"refers to *{event.anchor}, which no anchor before it defines", event.line, event.column)
            found = anchors[event.anchor]
            if found is None:
                raise _at(f"refers to *{event.anchor} within itself", event.line, event.column)
            node = found
            if len(opened) + node.height > DEEPEST:
                raise _at(f"is nested deeper than {DEEPEST} levels", event.line, event.column)
        else:
            node = Node(event.line, event.column, _storable(event), event.text)
            if event.anchor:
                anchors[event.anchor] = node
        if not opened:
            if node.members is not None or node.items is not None or node.value is not None:
                total += node.size
                yield node
        else:
            _put(opened[-1], node, event)
            total_now = total + sum(each.node.size for each in opened[-1:])
            if total_now > MOST_VALUES:
                raise _at(f"has more than {MOST_VALUES:,} values, aliases counted", event.line, event.column)


def _storable(event: _Event) -> Any:
    if isinstance(event.value, str) and re.search("[\x00\ud800-\udfff]", event.value):
        raise _at("has a NUL or half of a surrogate pair, which no text may hold", event.line, event.column)
    return event.value


def _put(into: _Open, node: Node, event: _Event) -> None:
    owner = into.node
    if owner.items is not None:
        owner.items.append(node)
    elif into.key is None and not into.merging:
        if event.kind == "value" and node.text == "<<":
            into.merging = True
            return
        if node.members is not None or node.items is not None:
            raise _at("is a mapping or a list where the name of a member belongs", event.line, event.column)
        name = node.text if node.text is not None else str(node.value)
        assert owner.members is not None
        assert owner.keys is not None
        if name in owner.members:
            first = owner.keys[name][0]
            raise _at(f"has {name} twice, first in line {first}", event.line, event.column)
        into.key = name
        owner.keys[name] = (event.line, event.column)
        owner.members[name] = node  # its place in the order; the value takes it
        return
    elif into.merging:
        into.merging = False
        sources = node.items if node.items is not None else [node]
        if any(source.members is None for source in sources):
            raise _at("<< takes a mapping or a list of mappings", event.line, event.column)
        into.merges += sources
    else:
        assert owner.members is not None
        assert into.key is not None
        owner.members[into.key] = node
        into.key = None
    owner.size += node.size
    owner.height = max(owner.height, node.height + 1)


def _closed(done: _Open) -> Node:
    node = done.node
    for source in done.merges:
        assert node.members is not None
        assert node.keys is not None
        assert source.members is not None
        assert source.keys is not None
        for name, member in source.members.items():
            if name not in node.members:
                node.members[name] = member
                node.keys[name] = source.keys[name]
    return node


def pointer(path: tuple[str | int, ...]) -> str:
    """RFC 6901."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
