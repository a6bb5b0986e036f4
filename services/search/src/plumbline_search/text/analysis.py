"""Text to terms, for the lexical leg: what a document is found by. Pure.

A term is a stemmed word (Snowball's English, Porter 2001) or an identifier. An identifier is kept whole *and* split
where its letters' case, its digits or its punctuation do: `KubePodCrashLooping` gives `kubepodcrashlooping`, `kube`,
`pod`, `crash`, `loop`. Case and accents make no difference. The same analysis is made of documents and of queries.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import Stemmer

VERSION = 1
"""Raise it with every change of what a text gives: terms of two versions must not be compared."""

LONGEST = 100
"""Characters of a term; a longer one, such as a key in Base64, is known by its beginning."""

# Words of English that say nothing about what a text is about. What tells of a state is no stop word:
# "down", "up", "off", "over", "under", "after", "not".
_SAY_NOTHING = (
    "a about again against all am an and any are as at be because been being between both but by can did do"
    " does doing during each few for from further had has have having he her here him his how i if in into is"
    " it its just may me more most must my now of on once only or other our own same she should so some such"
    " than that the their them then there these they this those through to too until very was we were what"
    " when where which while who whom why will with you your"
)
STOP_WORDS = frozenset(_SAY_NOTHING.split())

_WORD = re.compile(r"[^\W_]+(?:[-._/:@'’][^\W_]+)*")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_COMPOUND = re.compile(r"[A-Z]?[a-z]+(?:[-/][a-z]+)+")
"""Plain English, such as "high-speed" or "and/or"."""
_RUN = re.compile(r"[^\W_]+")


def terms(text: str) -> list[str]:
    """The terms of `text` in its order, with repetitions."""
    return [term for word in _WORD.findall(text) for term in terms_of_word(word)]


def counts(text: str) -> Counter[str]:
    """How often each term is in `text`."""
    return Counter(terms(text))


def words(text: str) -> Iterator[re.Match[str]]:
    """The words of `text` with their places; `terms_of_word` says what each is found by."""
    return _WORD.finditer(text)


@lru_cache(maxsize=100_000)
def terms_of_word(word: str) -> tuple[str, ...]:
    """The terms of one word as it stands in a text: none for a stop word, several for an identifier."""
    parts = (_PART if word.isascii() else _RUN).findall(word)
    if len(parts) <= 1:
        plain = _plain(word)
        return () if plain in STOP_WORDS else (_stem(plain),)
    split = [part for part in map(_plain, parts) if part not in STOP_WORDS]
    if "'" in word or "’" in word:  # "checkout's", "don't": no identifier
        return tuple(_stem(part) for part in split if len(part) > 2)
    if _COMPOUND.fullmatch(word):
        return tuple(map(_stem, split))
    whole = _plain(word)[:LONGEST]
    return (whole, *(stem for stem in map(_stem, split) if stem != whole))


@lru_cache(maxsize=100_000)
def term_id(term: str) -> int:
    """The term's number, a signed 64-bit integer: the first bytes of its BLAKE2b digest."""
    return int.from_bytes(
        hashlib.blake2b(term.encode("utf-8", "replace"), digest_size=8).digest(), "big", signed=True
    )


def unaccented(text: str) -> str:
    """In lower case and without accents; its length may differ."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _plain(word: str) -> str:
    return unaccented(word) or word


_stemmer = Stemmer.Stemmer("english")


def _stem(word: str) -> str:
    return str(_stemmer.stemWord(word[:LONGEST]))
