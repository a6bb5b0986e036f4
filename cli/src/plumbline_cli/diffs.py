"""What lies between two revisions, for a terminal."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from plumbline_common.openslo.writing import dump

_CONTEXT = 2
_GONE, _NEW = "red", "green"
_NOT_SHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: Any) -> str:
    """Text that cannot steer the terminal, whoever wrote it."""
    return _NOT_SHOWN.sub("\N{REPLACEMENT CHARACTER}", "" if text is None else str(text))


def unified(changes: Sequence[Mapping[str, Any]], before: str, after: str) -> Text:
    """The changes (pointer, before, after) one below the other, as diff -u has them."""
    text = Text()
    text.append(f"--- {before}\n", style=f"bold {_GONE}")
    text.append(f"+++ {after}\n", style=f"bold {_NEW}")
    for change in changes:
        text.append(f"@@ {_shown(change['pointer'])} @@\n", style="cyan")
        for line in _lines(_shown(change["before"]), _shown(change["after"])):
            text.append(f"{line}\n", style={"-": _GONE, "+": _NEW}.get(line[0], ""))
    return text


def side_by_side(changes: Sequence[Mapping[str, Any]], before: str, after: str) -> Table:
    """The changes with both versions beside each other; the words that differ stand out."""
    table = Table("field", before, after, show_lines=True, expand=True)
    for change in changes:
        old, new = _words(_shown(change["before"]), _shown(change["after"]))
        table.add_row(Text(_shown(change["pointer"]), style="cyan"), old, new)
    return table


def _lines(before: str, after: str) -> Iterator[str]:
    old, new = before.split("\n") if before else [], after.split("\n") if after else []
    for number, line in enumerate(difflib.unified_diff(old, new, n=_CONTEXT, lineterm="")):
        if number >= 2 and not (number == 2 and line.startswith("@@")):
            yield "   …" if line.startswith("@@") else line


def _words(before: str, after: str) -> tuple[Text, Text]:
    old, new = (re.findall(r"\s+|\w+|[^\w\s]", side) for side in (before, after))
    left, right = Text(), Text()
    for kind, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        left.append("".join(old[i:j]), style="" if kind == "equal" else f"bold {_GONE}")
        right.append("".join(new[k:m]), style="" if kind == "equal" else f"bold {_NEW}")
    return left, right


def _shown(value: Any) -> str:
    """Text as it is, anything else as YAML, nothing for null."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else dump(value).removesuffix("...\n")
    return plain(text.rstrip("\n"))
