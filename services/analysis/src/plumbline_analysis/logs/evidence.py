"""When tokens at one place of otherwise equal lines are values of one variable. Pure.

Tokens are bytes. `MASK` in a token stands for a value that masking found, `ANY` for whatever a template has learned
to take there; neither occurs in a line.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import eq

from plumbline_analysis.logs.masking import MASK

ANY = b"\x02"

_LETTER = re.compile(rb"[A-Za-z\x80-\xff]")
_WORD = re.compile(rb"[\x010-9A-Za-z\x80-\xff]")
_LABEL = re.compile(rb"[A-Za-z\x80-\xff][=:]|\.\.")
_DOTTED = re.compile(rb"\w[\w-]*\.[\w.-]*\w")
_MOST_REPEATED = 4


@dataclass(frozen=True)
class Needed:
    """How many different values make a place a variable.

    `values` anywhere; `first` for plain words at a line's first place, which mostly name what the line is about;
    `ids` for values that look like ids, and for names of users and hosts after "for user", "from host" and so on."""

    values: int = 4
    first: int = 16
    ids: int = 2


_BEFORE_NAMED = frozenset(b"for by from of to on as at with invalid unknown".split())
_NAMED = frozenset(b"user host".split())


def is_constant(token: bytes) -> bool:
    """Whether a token of a template says what the line is about: it has a letter and takes not just anything."""
    return ANY not in token and _LETTER.search(token) is not None


def takes(wild: bytes, token: bytes) -> bool:
    """Whether a token of a template that holds `ANY` takes `token`, by what stands before and after the `ANY`."""
    before, _, after = wild.partition(ANY)
    return len(token) >= len(before) + len(after) and token.startswith(before) and token.endswith(after)


def joined(tokens: Collection[bytes]) -> bytes:
    """One token with `ANY` that takes all of `tokens`: it keeps what they begin and end with, up to a word's edge."""
    shortest = min(map(len, tokens))
    before = _common([token[:shortest] for token in tokens])
    after = _common([token[len(before) : len(token)][::-1][: shortest - len(before)] for token in tokens])
    return before.partition(ANY)[0] + ANY + after.partition(ANY)[0][::-1]


def _common(tokens: Sequence[bytes]) -> bytes:
    """What all tokens begin with, without the beginning of a word that goes on differently."""
    low, high = min(tokens), max(tokens)
    length = 0
    while length < len(low) and low[length] == high[length]:
        length += 1
    while length and _WORD.match(low, length - 1):
        length -= 1
    return low[:length]


def is_variable(values: Collection[bytes], place: int, before: Sequence[bytes], needed: Needed) -> bool:
    """Whether the different tokens `values` at `place`, with the tokens `before` it, are values of one variable."""
    if any(ANY in value for value in values):
        return True
    if len(values) < 2:
        return False
    if len(values) >= needed.ids and (_names_follow(before) or _are_ids(values)):
        return True
    if place == 0 and not all(MASK in value or _DOTTED.search(value) for value in values):
        return len(values) >= needed.first
    return len(values) >= needed.values


def differences(values: Collection[bytes]) -> list[bytes]:
    """The values without what all of them begin and end with."""
    before, after = joined(values).split(ANY)
    return [value[len(before) : len(value) - len(after)] for value in values]


def _are_ids(values: Collection[bytes]) -> bool:
    """Whether they look like "node<*>", not like a label with its value: "uid=<*>", "uid:<*>", "uid....<*>"."""
    return all(MASK in value for value in values) and all(
        MASK in each and not _LABEL.search(each) for each in differences(values)
    )


def _names_follow(before: Sequence[bytes]) -> bool:
    return len(before) > 1 and before[-1].lower() in _NAMED and before[-2].lower() in _BEFORE_NAMED


def folded(masked: bytes) -> list[bytes]:
    """The tokens of a masked line, repetitions of up to four tokens in a row folded to one where they hold a mask.

    "a <*> b <*> a <*> b <*>" becomes "a <*> b <*>": a list is one value, however long it is.
    """
    tokens = masked.split()
    if MASK not in masked:
        return tokens
    bare = masked.replace(b", ", b" ").replace(b"; ", b" ").rstrip(b",;").split()
    if len(bare) != len(tokens):  # one of them was nothing but punctuation
        bare = tokens
    if len(set(bare)) == len(bare) or not any(
        b"\x01" * length in bytes(map(eq, bare[length:], bare)) for length in range(1, _MOST_REPEATED + 1)
    ):
        return tokens
    kept: list[bytes] = []
    seen: list[bytes] = []
    for token, word in zip(tokens, bare, strict=True):
        kept.append(token)
        seen.append(word)
        for length in range(1, min(_MOST_REPEATED, len(kept) // 2) + 1):
            # The last of both is compared first: mostly it differs already.
            if seen[-1 - length] == word and seen[-length:] == seen[-2 * length : -length]:
                if any(MASK in each for each in seen[-length:]):
                    del kept[-length:], seen[-length:]
                break
    return kept
