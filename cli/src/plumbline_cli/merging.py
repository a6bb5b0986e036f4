"""What two people made of one requirement, put together; without I/O.

A content is a mapping of JSON values by member. Its parts are what two people can change without being in each
other's way: members, single labels, and SLOs by their name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Content = Mapping[str, Any]

EMPTY: dict[str, Any] = {
    "title": "",
    "description": "",
    "statement": "",
    "rationale": "",
    "type": None,
    "priority": None,
    "owner_team": None,
    "service": None,
    "verification_method": "",
    "labels": {},
    "slos": [],
    "budget_policy": [],
}
"""The editable members in the order in which people read them, each with what it is when nothing is said."""


@dataclass(frozen=True)
class Conflict:
    """A part that both sides changed, each otherwise. None where a side has no such part."""

    path: tuple[str, ...]
    before: Any
    mine: Any
    theirs: Any

    @property
    def member(self) -> str:
        return self.path[0]


@dataclass(frozen=True)
class Merged:
    """Both sides' changes; where they conflict, `content` has mine."""

    content: dict[str, Any]
    conflicts: Sequence[Conflict]
    taken: Sequence[str]
    """The members that have changes of theirs."""


def normal(content: Content) -> dict[str, Any]:
    """Every editable member, with one way to say that it is empty."""
    result = {name: EMPTY.get(name) if _void(value) else value for name, value in (EMPTY | dict(content)).items()}
    if isinstance(result["labels"], dict):
        result["labels"] = {key: value for key, value in result["labels"].items() if value is not None}
    return result


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are three."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def patch(before: Content, after: Content) -> dict[str, Any]:
    """The JSON Merge Patch (RFC 7396) from one to the other; a member that is emptied takes its default."""
    old, new = normal(before), normal(after)
    changes: dict[str, Any] = {}
    for name in _names(old, new):
        if same(old.get(name), new.get(name)):
            continue
        changes[name] = new.get(name)
        if name == "labels" and isinstance(old[name], dict) and isinstance(new[name], dict):
            labels = {key: new[name].get(key) for key in _names(old[name], new[name])}
            changes[name] = {key: value for key, value in labels.items() if not same(value, old[name].get(key))}
    return changes


def merge(base: Content, mine: Content, theirs: Content) -> Merged:
    """The changes that lead from `base` to `mine` and to `theirs`, together."""
    sides = normal(base), normal(mine), normal(theirs)
    content: dict[str, Any] = {}
    conflicts: list[Conflict] = []
    taken: list[str] = []
    for name in _names(*sides):
        before, ours, other = (side.get(name) for side in sides)
        if not same(before, other) and not same(ours, other):
            taken.append(name)
        if same(ours, before):
            content[name] = other
        elif same(other, before) or same(other, ours):
            content[name] = ours
        else:
            content[name], found = _together(name, before, ours, other)
            conflicts += found
            if [conflict.path for conflict in found] == [(name,)]:
                taken.pop()
    return Merged(content, conflicts, taken)


def _together(name: str, before: Any, mine: Any, theirs: Any) -> tuple[Any, list[Conflict]]:
    parts = [_parts(name, value) for value in (before, mine, theirs)]
    if any(part is None for part in parts):
        return mine, [Conflict((name,), before, mine, theirs)]
    old, ours, other = (part or {} for part in parts)
    result: dict[str, Any] = {}
    conflicts = []
    for key in _names(other, ours, old):
        was, my, their = old.get(key), ours.get(key), other.get(key)
        if not (same(my, was) or same(their, was) or same(my, their)):
            conflicts.append(Conflict((name, key), was, my, their))
        kept = their if same(my, was) else my
        if kept is not None:
            result[key] = kept
    return (result if name == "labels" else list(result.values())), conflicts


def _parts(name: str, value: Any) -> dict[str, Any] | None:
    """The parts of a member by their names; None where it has none, or where they cannot be told apart."""
    if name == "labels" and isinstance(value, dict):
        return value
    if name == "slos" and isinstance(value, list):
        named = {each["name"]: each for each in value if isinstance(each, dict) and isinstance(each.get("name"), str)}
        return named if len(named) == len(value) else None
    return None


def _names(*contents: Content) -> list[str]:
    return list(dict.fromkeys(name for content in contents for name in content))


def _void(value: Any) -> bool:
    return value is None or value == "" or value == [] or value == {}
