"""Requirements as YAML that people read and write; without I/O."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from plumbline_cli.merging import EMPTY, Conflict, Content, normal

_TEXTS = tuple(name for name in EMPTY if name != "slos")
"""Members whose scalars are text, however they look: `title: 42`, `version: 1.10`."""
_FIRST = re.compile(r"^# plumbline: (?P<key>\S+) revision (?P<revision>\d+)$", re.MULTILINE)
_SCALARS = ("int", "float", "bool", "timestamp")
CONFLICT = "# CONFLICT "
COMPLAINT = "#! "


class NotAForm(ValueError):
    """The text is no YAML mapping of members."""


# --- YAML -----------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars: `on`, `yes` and `12:30` are text, and so are dates. A key that comes twice is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(None, None, f"{key} comes twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("merge", "null")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern, _firsts in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    for _reader_or_writer in (_Loader, _Dumper):  # so that the writer quotes what the reader would not take for text
        _reader_or_writer.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_firsts)
        )


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # The emitter loses what a block cannot hold, such as blanks at the end of a line, and rare breaks between quotes.
    style = None
    if _odd(text):
        style = '"'
    elif re.fullmatch(r"(?:\S(?:.*\S)?\n+)+(?:\S(?:.*\S)?)?", text):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _odd(text: str) -> bool:
    return any(not letter.isprintable() and letter != "\n" for letter in text)


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Dumper.add_representer(str, _represent_text)


def dump(value: Any) -> str:
    """YAML as a person would write it: members in their order, long text as a block."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def load(text: str) -> list[Any]:
    """The documents of a YAML or JSON text, empty ones left out. Raises `NotAForm` that says where."""
    try:
        loader = _Loader(text)
        try:
            documents = []
            while loader.check_node():
                node = loader.get_node()
                assert node is not None
                _as_texts(node)
                documents.append(loader.construct_document(node))
        finally:
            loader.dispose()
        json.dumps(documents, allow_nan=False)  # explicit tags and anchors can make what JSON has not
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise NotAForm(f"not YAML: {place}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise NotAForm(f"not YAML: {error}") from None
    return [document for document in documents if document is not None]


def _as_texts(node: yaml.Node) -> None:
    """Make the scalars of members that hold text into text, in a requirement and in its `spec`."""
    if not isinstance(node, yaml.MappingNode):
        for each in node.value if isinstance(node, yaml.SequenceNode) else ():
            _as_texts(each)
        return
    for key, value in node.value:
        if key.value == "spec":
            _as_texts(value)
        elif key.value in _TEXTS:
            mapped = isinstance(value, yaml.MappingNode)
            scalars = [scalar for pair in value.value for scalar in pair] if mapped else [value]
            for scalar in scalars:
                if isinstance(scalar, yaml.ScalarNode) and scalar.tag.rpartition(":")[2] in _SCALARS:
                    scalar.tag = "tag:yaml.org,2002:str"


# --- The form of an edit --------------------------------------------------------------------------------


def editable(document: Content) -> dict[str, Any]:
    """What a person may change of a requirement, without the nulls in its SLOs."""
    content = normal({name: document.get(name) for name in EMPTY})
    content["slos"] = _without_nulls(content["slos"])
    return content


def render(
    content: Content, key: str, revision: int, said: Iterable[str] = (), conflicts: Sequence[Conflict] = ()
) -> str:
    """The text for the editor, each conflict above its member. `said` goes on top."""
    lines = [
        f"# plumbline: {key} revision {revision}",
        "# Save and close the editor to write what you changed. A text that is empty or as it was writes nothing.",
        *(f"# {line}" for line in said),
    ]
    for name, value in normal(content).items():
        for conflict in conflicts:
            if conflict.member == name:
                lines += ["", *_told(conflict)]
        lines += dump({name: value}).rstrip("\n").split("\n")
    return "\n".join(lines) + "\n"


def parse(text: str) -> dict[str, Any]:
    """The members of a form. Raises `NotAForm`."""
    documents = load(text)
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise NotAForm("not one mapping of members, such as title: The gateway answers quickly")
    content: dict[str, Any] = documents[0]
    if unknown := [str(name) for name in content if name not in EMPTY]:
        raise NotAForm(f"no such member: {', '.join(unknown)}; there are {', '.join(EMPTY)}")
    return content


def is_empty(text: str) -> bool:
    """Whether nothing but comments is left."""
    return all(not line.strip() or line.startswith("#") for line in text.splitlines())


def written_for(text: str) -> tuple[str, int] | None:
    """The key and the revision that a form was made of."""
    found = _FIRST.search(text)
    return (found["key"], int(found["revision"])) if found else None


def complain(text: str, reasons: Iterable[str]) -> str:
    """The text with what is wrong on top, in place of what was wrong before."""
    kept = text.split("\n")
    while kept and kept[0].startswith(COMPLAINT.rstrip()):
        kept.pop(0)
    wrong = [f"{COMPLAINT}{line}" for reason in reasons for line in reason.splitlines()]
    return "\n".join([*wrong, *kept])


def unsettled(text: str) -> list[str]:
    """The parts whose conflict is still marked."""
    return [line.removeprefix(CONFLICT).partition(":")[0] for line in text.split("\n") if line.startswith(CONFLICT)]


def _told(conflict: Conflict) -> list[str]:
    name = _line("/".join(conflict.path))
    lines = [f"{CONFLICT}{name}: changed on both sides. Below stands yours; settle it, and delete this line."]
    for side, value in (("before", conflict.before), ("theirs", conflict.theirs), ("yours", conflict.mine)):
        lines.append(f"# {side}:")
        shown = "(nothing)" if value is None else value if isinstance(value, str) else dump(value)
        lines += [f"#   {_line(line)}".rstrip() for line in shown.rstrip("\n").split("\n")]
    return lines


def _line(text: str) -> str:
    """Text that stays within one comment."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value
