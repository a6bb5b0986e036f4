"""OpenSLO v1 objects, and other JSON-like values, as YAML that people would write."""

import re
from collections.abc import Iterable
from typing import Any

import yaml

from plumbline_common.openslo import reading
from plumbline_common.openslo.objects import Object


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern, _firsts in (  # so that the writer quotes what the reader would not take for text
    ("bool", reading.BOOL, "tTfF"),
    ("int", reading.INT, "-+0123456789"),
    ("float", reading.FLOAT, "-+.0123456789"),
):
    _Dumper.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern.pattern})$"), list(_firsts)
    )


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # The emitter loses what a block cannot hold, such as blanks at the end of a line, and rare breaks between quotes.
    style = None
    if any(not letter.isprintable() and letter != "\n" for letter in text):
        style = '"'
    elif re.fullmatch(r"(?:\S(?:.*\S)?\n+)+(?:\S(?:.*\S)?)?", text):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def dump(value: Any) -> str:
    """YAML as a person would write it: members in their order, long text as a block."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def document(thing: Object) -> dict[str, Any]:
    """An object as JSON has it: what it does not say is left out."""
    written = thing.model_dump(mode="json", exclude_none=True)
    ordered: dict[str, Any] = {name: written.pop(name) for name in ("apiVersion", "kind", "metadata")}
    return ordered | written


def write(objects: Iterable[Object]) -> str:
    """Objects as one YAML text, a document each."""
    return "---\n".join(dump(document(thing)) for thing in objects)
