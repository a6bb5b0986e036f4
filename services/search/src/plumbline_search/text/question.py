"""What a question asks for, beyond its words: phrases, words that must not be there, beginnings of words. Pure."""

import re
from dataclasses import dataclass

_PHRASE = re.compile(r'(?<![^\s-])(-?)"([^"]*[^\W_][^"]*)"')
# Three letters at least: "kubectl get pods -n monitoring" asks for what it says.
_EXCLUDED = re.compile(r"(?<!\S)-(?=[^\W\d_]{3})(\S*[^\W_])")
_BEGINNING = re.compile(r"(?<!\S)([^\W_]{2,})\*(?!\S)")


@dataclass(frozen=True)
class Question:
    """`words` is the text without the syntax: what both legs look for."""

    words: str
    phrases: tuple[str, ...] = ()
    """What a hit must hold, word by word."""
    excluded: tuple[str, ...] = ()
    """What a hit must not hold: a word, or the words of a phrase one after the other."""
    beginnings: tuple[str, ...] = ()
    """Words that a hit's words may begin with, in lower case."""


def parsed(text: str) -> Question:
    """Every other character is data: a lone quote, an operator of another language."""
    phrases: list[str] = []
    excluded: list[str] = []
    beginnings: list[str] = []

    def phrase(found: re.Match[str]) -> str:
        (excluded if found[1] else phrases).append(" ".join(found[2].split()))
        return " " if found[1] else f" {found[2]} "

    def exclusion(found: re.Match[str]) -> str:
        excluded.append(found[1])
        return " "

    def beginning(found: re.Match[str]) -> str:
        beginnings.append(found[1].lower())
        return f" {found[1]} "

    words = _PHRASE.sub(phrase, text)
    words = _EXCLUDED.sub(exclusion, words)
    words = _BEGINNING.sub(beginning, words)
    return Question(" ".join(words.split()), tuple(phrases), tuple(excluded), tuple(beginnings))


def pattern(phrase: str) -> str | None:
    """A regular expression of PostgreSQL for the words of `phrase`, one after the other; None where it has none."""
    words = re.findall(r"[^\W_]+", phrase)
    return r"\m" + r"[\W_]+".join(words) + r"\M" if words else None
