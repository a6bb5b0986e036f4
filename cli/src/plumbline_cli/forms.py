"""Requirements as YAML that people read and write; without I/O."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from plumbline_cli.merging import EMPTY, Conflict, Content, normal
from plumbline_common.openslo import reading
from plumbline_common.openslo.reading import Node
from plumbline_common.openslo.writing import dump

_TEXTS = tuple(name for name in EMPTY if name != "slos")
"""Members whose scalars are text, however they look: `title: 42`, `version: 1.10`."""
_FIRST = re.compile(r"^# plumbline: (?P<key>\S+) revision (?P<revision>\d+)$", re.MULTILINE)
CONFLICT = "# CONFLICT "
COMPLAINT = "#! "


class NotAForm(ValueError):
    """The text is no YAML mapping of members."""


# --- YAML -----------------------------------------------------------------------------------------------


def load(text: str) -> list[Any]:
    """The documents of a YAML or JSON text, empty ones left out. Raises `NotAForm` that says where."""
    try:
        documents = reading.read(text)
    except reading.Unreadable as error:
        raise NotAForm(str(error)) from None
    for document in documents:
        _as_texts(document)
    return [document.plain() for document in documents]


def _as_texts(node: Node) -> None:
    """Make the scalars of members that hold text into text, in a requirement and in its `spec`."""
    for each in node.items or ():
        _as_texts(each)
    for name, value in (node.members or {}).items():
        if name == "spec":
            _as_texts(value)
        elif name in _TEXTS:
            for scalar in value.members.values() if value.members is not None else (value,):
                if scalar.text is not None and scalar.value is not None:
                    scalar.value = scalar.text


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
