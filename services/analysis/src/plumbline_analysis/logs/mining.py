"""Log templates, mined online in one pass: masking, an exact memory of masked lines, and joining by evidence.

A line is masked (`masking`), split at its spaces, and compared with the templates of as many tokens. It belongs to
the template that takes it; where none does, it becomes a template itself. Templates that differ at some places only
are joined once the values there are so many that they must be those of a variable (`evidence`): until then they
stay apart, for a word that was seen with one other word only is rather a part of the message.

So the group of an earlier line may grow later: `Miner.current(id)` says under which id it goes on.

State is bounded by `Config`, whatever comes. What a line gives depends on the lines before it and on nothing else,
neither on how they were split into batches nor on whether the miner was saved and loaded in between.
"""

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from plumbline_analysis.logs.evidence import ANY, Needed, differences, folded, is_constant, is_variable, joined, takes
from plumbline_analysis.logs.masking import MASK, cut, mask, mask_distinct
from plumbline_analysis.logs.state import packed, unpacked
from plumbline_common.compiling import kernel

VERSION = 1
WILDCARD = "<*>"
_EMPTY = "(empty)"

Hashes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Config:
    """The bounds of the state, and the evidence that joins templates.

    `templates` are kept at most: beyond them the eighth that was seen longest ago is forgotten. A line has `tokens`
    at most, what follows is one value. `remembered` masked lines of up to `remembered_bytes` are known by heart.
    """

    templates: int = 4096
    tokens: int = 128
    remembered: int = 8192
    remembered_bytes: int = 512
    redirects: int = 65_536
    neighbours: int = 256
    examples: int = 3
    example_characters: int = 500
    needed: Needed = field(default_factory=Needed)


@dataclass(frozen=True)
class Template:
    """One template as it is now. `first` and `last` are the numbers of lines, from 0, over the miner's life."""

    id: int
    text: str
    count: int
    first: int
    last: int
    examples: tuple[str, ...]


@dataclass(slots=True)
class _Group:
    tokens: list[bytes]
    count: int
    first: int
    last: int
    examples: list[str]


@kernel()
def _near(rows: Hashes, number: int, row: Hashes, most: int, found: Hashes) -> int:
    """Which of the first `number` rows differ from `row` at `most` places; returns how many do.

    For each, `found` is given 256 times its place and, in the last byte, at how many places it differs. A place where
    either row has 0 does not differ. O(number x tokens).
    """
    near = 0
    for place in range(number):
        differing = 0
        for token in range(len(row)):
            its = rows[place, token]
            if its != row[token] and its != 0 and row[token] != 0:
                differing += 1
                if differing > most:
                    break
        if differing <= most:
            found[near] = 256 * place + differing
            near += 1
    return near


class _Length:
    """The templates of one number of tokens: a row of the tokens' hashes for each, 0 where a token holds `ANY`."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.ids: list[int] = []
        self._rows = np.zeros((8, tokens), np.int64)
        self._found = np.zeros(8, np.int64)

    def near(self, row: Hashes) -> list[tuple[int, int]]:
        """The templates that differ from a row at half of its places at most: at how many, and the id."""
        if not self.ids:
            return []
        near = _near(self._rows, len(self.ids), row, min(self.tokens // 2, 255), self._found)
        return [(found & 255, self.ids[found >> 8]) for found in self._found[:near].tolist()]

    def add(self, id: int, row: Hashes) -> None:
        if len(self.ids) == len(self._rows):
            self._rows = np.concatenate((self._rows, np.zeros_like(self._rows)))
            self._found = np.zeros(len(self._rows), np.int64)
        self._rows[len(self.ids)] = row
        self.ids.append(id)

    def remove(self, id: int) -> None:
        place = self.ids.index(id)
        last = self.ids.pop()
        if last != id:
            self.ids[place] = last
            self._rows[place] = self._rows[len(self.ids)]


class Miner:
    """Gives each line the id of its template. Not safe for several threads at once."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self._groups: dict[int, _Group] = {}
        self._lengths: dict[int, _Length] = {}
        self._known: dict[bytes, int] = {}
        self._joined: dict[int, int] = {}
        self._next = 1
        self._lines = 0

    @property
    def lines(self) -> int:
        """How many lines there were."""
        return self._lines

    def __len__(self) -> int:
        """How many templates there are."""
        return len(self._groups)

    def add(self, lines: Sequence[str | bytes]) -> list[int]:
        """The template's id of each line, as it is after the last of them.

        A line may be anything: it is decoded with replacement, control characters count as spaces, and what lies
        beyond `masking.LONGEST` bytes is cut off. Never raises for any content.
        """
        config = self.config
        distinct, first, which = mask_distinct(lines, config.remembered_bytes)
        number = len(distinct)
        if (
            len(self._known) + number > config.remembered
            or len(self._groups) + number > config.templates
            or len(self._joined) + len(self._groups) + number > config.redirects
        ):
            # Something may be forgotten in between, which equal lines would then find differently.
            slowly = [self._one(masked, line) for masked, line in zip(mask(lines), lines, strict=True)]
            now = {id: self.current(id) for id in set(slowly)}
            return [now[id] for id in slowly]
        found = [
            self._placed(masked, lines[place], self._lines + place)
            for masked, place in zip(distinct, first, strict=True)
        ]
        counts = np.bincount(which, minlength=number).tolist()
        last = np.zeros(number, np.int64)
        last[which] = np.arange(len(lines))
        for id, count, place in zip(found, counts, last.tolist(), strict=True):
            self._count(id, count, self._lines + place)
        self._lines += len(lines)
        ids: list[int] = np.array([self.current(id) for id in found], np.int64)[which].tolist()
        return ids

    def current(self, id: int) -> int:
        """The id that the template with this id has now. An id that was forgotten is its own."""
        while id in self._joined:
            id = self._joined[id]
        return id

    def template(self, id: int) -> Template | None:
        """The template of an id that `add` gave, now or earlier; None where it is forgotten."""
        id = self.current(id)
        group = self._groups.get(id)
        if group is None:
            return None
        return Template(id, _text(group.tokens), group.count, group.first, group.last, tuple(group.examples))

    def templates(self) -> list[Template]:
        """All of them, the most frequent first."""
        found = [template for id in self._groups if (template := self.template(id))]
        return sorted(found, key=lambda each: (-each.count, each.id))

    # --- Lines --------------------------------------------------------------------------------------------

    def _one(self, masked: bytes, line: str | bytes) -> int:
        """Take one line in."""
        id = self._placed(masked, line, self._lines)
        self._count(id, 1, self._lines)
        self._lines += 1
        return id

    def _count(self, id: int, count: int, last: int) -> None:
        """Take lines into their template's count; `last` is the number of the last of them."""
        group = self._groups[self.current(id)]
        group.count += count
        group.last = max(group.last, last)

    def _placed(self, masked: bytes, line: str | bytes, number: int) -> int:
        """The template's id of the line with this number, by heart or by what it is."""
        id = self._known.get(masked)
        if id is None:
            id = self._place(masked, line, number)
            if len(masked) <= self.config.remembered_bytes:
                if len(self._known) >= self.config.remembered:
                    self._known.clear()
                self._known[masked] = id
        return id

    def _place(self, masked: bytes, line: str | bytes, number: int) -> int:
        """The template that takes a masked line, or a new one."""
        tokens = self._tokens(masked)
        row = _row(tokens)
        length = self._lengths.get(len(tokens))
        if length is None:
            length = self._lengths[len(tokens)] = _Length(len(tokens))
        near = length.near(row)
        id = self._taking(tokens, near)
        if id is None:
            if len(self._groups) >= self.config.templates:
                self._forget()
                length = self._lengths.setdefault(len(tokens), length)
                near = length.near(row)
            id = self._next
            self._next += 1
            self._groups[id] = _Group(tokens, 0, number, number, [])
            length.add(id, row)
            id = self._join(length, id, near)
        examples = self._groups[id].examples
        if len(examples) < self.config.examples:
            if not (isinstance(line, str) and line.isascii()):
                line = cut(line).decode("utf-8", "replace")
            examples.append(line[: self.config.example_characters])
        return id

    def _tokens(self, masked: bytes) -> list[bytes]:
        tokens = folded(masked)
        if len(tokens) > self.config.tokens:
            return [*tokens[: self.config.tokens - 1], ANY]
        return tokens

    def _taking(self, tokens: list[bytes], near: list[tuple[int, int]]) -> int | None:
        """The template with the most constant tokens that takes the line; of several, the oldest."""
        found = [id for distance, id in near if not distance and _take(self._groups[id].tokens, tokens)]
        if len(found) > 1:
            return min(found, key=lambda each: (sum(ANY in token for token in self._groups[each].tokens), each))
        return found[0] if found else None

    # --- Joining ------------------------------------------------------------------------------------------

    def _join(self, length: _Length, id: int, near: list[tuple[int, int]]) -> int:
        """Join a new template with those that there is evidence for, and what that makes with further ones."""
        while others := self._family(id, near):
            id = self._made_one(length, [id, *others])
            near = length.near(_row(self._groups[id].tokens))
        return id

    def _family(self, id: int, near: list[tuple[int, int]]) -> list[int]:
        """The templates that are one with this one, by what they all have."""
        tokens = self._groups[id].tokens
        families: dict[tuple[int, ...], list[int]] = {}
        if len(near) > self.config.neighbours:
            near = sorted(near)[: self.config.neighbours]
        for _, other in near:
            if other != id and (places := _differing(tokens, self._groups[other].tokens)) is not None:
                families.setdefault(places, []).append(other)
        for places in sorted(families, key=lambda each: (len(each), each)):
            if self._is_one(tokens, places, families[places]):
                return families[places]
        return []

    def _is_one(self, tokens: list[bytes], places: tuple[int, ...], others: list[int]) -> bool:
        columns = []
        for place in places:
            values = {tokens[place], *(self._groups[other].tokens[place] for other in others)}
            if not is_variable(values, place, tokens[:place], self.config.needed):
                return False
            columns.append(values)
        words = sum(not all(MASK in each for each in differences(values)) for values in columns)
        left = sum(is_constant(token) for place, token in enumerate(tokens) if place not in places)
        # Of a template that says less than it leaves open, nobody knows what it is about.
        return not places or left >= (1 if words <= 1 else 2 * words)

    def _made_one(self, length: _Length, ids: list[int]) -> int:
        """Join templates under the oldest id."""
        ids = sorted(ids)
        first, *rest = (self._groups.pop(id) for id in ids)
        for column, token in enumerate(first.tokens):
            values = {token, *(group.tokens[column] for group in rest)}
            if len(values) > 1:
                first.tokens[column] = joined(values)
        for group in rest:
            first.count += group.count
            first.first = min(first.first, group.first)
            first.last = max(first.last, group.last)
            first.examples = (first.examples + group.examples)[: self.config.examples]
        for id in ids:
            length.remove(id)
        for id in ids[1:]:
            self._joined[id] = ids[0]
        self._groups[ids[0]] = first
        length.add(ids[0], _row(first.tokens))
        if len(self._joined) > self.config.redirects:
            # What is known by heart must not speak of ids that nobody knows any more.
            self._known.clear()
            for id in list(self._joined)[: len(self._joined) // 2]:
                del self._joined[id]
        return ids[0]

    def _forget(self) -> None:
        """Forget the eighth of the templates that was seen longest ago."""
        oldest = sorted(self._groups, key=lambda each: (self._groups[each].last, each))
        gone = set(oldest[: max(len(oldest) // 8, 1)])
        for id in gone:
            length = self._lengths[len(self._groups.pop(id).tokens)]
            length.remove(id)
        self._lengths = {tokens: length for tokens, length in self._lengths.items() if length.ids}
        for masked in [masked for masked, id in self._known.items() if self.current(id) in gone]:
            del self._known[masked]

    # --- Persistence --------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The whole state."""
        state = {
            "config": asdict(self.config),
            "lines": self._lines,
            "next": self._next,
            "joined": list(self._joined.items()),
            "groups": [
                [id, _latin(group.tokens), group.count, group.first, group.last, group.examples]
                for id, group in self._groups.items()
            ],
            "known": [[masked.decode("latin-1"), id] for masked, id in self._known.items()],
        }
        return packed(VERSION, state)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Miner":
        """Raises `ValueError` for another version or a broken state: the templates have to be mined anew."""
        return unpacked(data, VERSION, "a log miner", cls._loaded)

    @classmethod
    def _loaded(cls, state: dict[str, Any]) -> "Miner":
        miner = cls(Config(**(state["config"] | {"needed": Needed(**state["config"]["needed"])})))
        miner._lines, miner._next = state["lines"], state["next"]
        miner._joined = dict(state["joined"])
        miner._known = {masked.encode("latin-1"): id for masked, id in state["known"]}
        for id, tokens, count, first, last, examples in state["groups"]:
            group = _Group([token.encode("latin-1") for token in tokens], count, first, last, examples)
            miner._groups[id] = group
            length = miner._lengths.setdefault(len(tokens), _Length(len(tokens)))
            length.add(id, _row(group.tokens))
        return miner


def _row(tokens: Sequence[bytes]) -> Hashes:
    """A hash of each token, 0 where it holds `ANY`. That others may have the same makes them candidates only."""
    row = np.fromiter(map(zlib.crc32, tokens), np.int64, len(tokens))
    if ANY in b"".join(tokens):
        row[[ANY in token for token in tokens]] = 0
    return row


def _take(template: Sequence[bytes], tokens: Sequence[bytes]) -> bool:
    """Whether a template takes a line of as many tokens."""
    for mine, other in zip(template, tokens, strict=True):
        if mine != other and not (ANY in mine and takes(mine, other)):
            return False
    return True


def _differing(one: Sequence[bytes], other: Sequence[bytes]) -> tuple[int, ...] | None:
    """The places at which neither template's token takes the other's.

    None where there are none and still neither template takes all that the other takes: they only overlap.
    """
    differing: list[int] = []
    takes_more = takes_less = False
    for place, (mine, its) in enumerate(zip(one, other, strict=True)):
        if mine == its:
            continue
        if ANY in mine and takes(mine, its.replace(ANY, b"")):
            takes_more = True
        elif ANY in its and takes(its, mine.replace(ANY, b"")):
            takes_less = True
        else:
            differing.append(place)
    return None if not differing and takes_more and takes_less else tuple(differing)


def _text(tokens: Sequence[bytes]) -> str:
    """A template as people read it."""
    text = b" ".join(tokens).replace(MASK, WILDCARD.encode()).replace(ANY, WILDCARD.encode())
    return text.decode("utf-8", "replace") or _EMPTY


def _latin(tokens: Sequence[bytes]) -> list[str]:
    return [token.decode("latin-1") for token in tokens]
