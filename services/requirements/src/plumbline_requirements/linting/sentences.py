"""English sentences of requirements: the EARS pattern that one follows, and what is weak in its words."""

import re
from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

_WORD = re.compile(r"[a-z]+")


@lru_cache(maxsize=8)
def _tokens(text: str) -> frozenset[str]:
    """The words of a text that several rules look at in turn."""
    return frozenset(_WORD.findall(text.lower()))


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _any(words: str) -> str:
    """An alternation of words (or of patterns without blanks)."""
    return "|".join(words.split())


class Span(NamedTuple):
    """Characters from `start` up to `end`."""

    start: int
    end: int


class Pattern(StrEnum):
    """The patterns of EARS."""

    UBIQUITOUS = "ubiquitous"
    EVENT_DRIVEN = "event-driven"
    STATE_DRIVEN = "state-driven"
    OPTIONAL_FEATURE = "optional-feature"
    UNWANTED_BEHAVIOUR = "unwanted-behaviour"
    COMPLEX = "complex"


_KEYWORDS = {
    "when": Pattern.EVENT_DRIVEN,
    "while": Pattern.STATE_DRIVEN,
    "where": Pattern.OPTIONAL_FEATURE,
    "if": Pattern.UNWANTED_BEHAVIOUR,
}
_SHALL = re.compile(r"\b(?:shall|must)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"(?:^|,\s*(?:and\s+)?(?:then\s+)?)(when|while|where|if)\b", re.IGNORECASE)
_TRAILING = re.compile(r"\b(?:when|whenever|while|if|unless|once(?=\s+(?:an?|the|all|any|it)\b))\b", re.IGNORECASE)
_CONDITIONS = _set("when whenever while where if unless once")
_END = re.compile(r"[.!?](?:\s|$)|\n")
_MOST_WORDS_OF_A_SYSTEM = 12


def pattern(text: str) -> Pattern | None:
    """The EARS pattern of the sentence with the first `shall`, or None.

    A condition after the response is no pattern: EARS puts conditions first, in the order in which they come to pass.
    """
    words = _tokens(text)
    if "shall" not in words:
        return None
    shall = _SHALL.match(text, text.find("shall")) if "must" not in words else None
    shall = shall or _SHALL.search(text)
    if shall is None or shall[0].lower() != "shall":
        return None
    head, tail = text[: shall.start()].strip(), text[shall.end() :].strip(" \n.!?")
    # Perhaps more than one sentence. Each `in` costs a tenth of what any() does.
    if ". " in text or "\n" in text or "? " in text or "! " in text:
        head, tail = _END.split(head)[-1].strip(), _END.split(tail, maxsplit=1)[0].strip()
    if not tail:
        return None
    conditions: list[str] = []
    if not _CONDITIONS.isdisjoint(words):
        if _TRAILING.search(tail) and _TRAILING.search(_ESCAPE.sub("", tail)):
            return None
        conditions = [found[1].lower() for found in _CLAUSE.finditer(head)]
    begins = bool(conditions) and head.lower().startswith(conditions[0])
    if conditions and not begins:
        return None
    system = head.rpartition(",")[2].strip() if begins else head
    if system[:5].lower() == "then ":
        system = system[5:].lstrip()
    if not system or len(system.split()) > _MOST_WORDS_OF_A_SYSTEM or (begins and "," not in head):
        return None
    if not begins:
        return Pattern.UBIQUITOUS if "," not in system else None
    return _KEYWORDS[conditions[0]] if len(set(conditions)) == 1 else Pattern.COMPLEX


# --- Words ----------------------------------------------------------------------------------------------


def _words(text: str) -> str:
    """An alternation of the phrases of a text, the longest first, blanks matching any run of blanks."""
    phrases = sorted((each.strip() for each in text.split(",")), key=len, reverse=True)
    return "|".join(re.sub(r"\s+", r"\\s+", phrase) for phrase in phrases)


_VAGUE_PHRASES = """
fast, faster, quick, quickly, rapid, rapidly, prompt, promptly, swift, swiftly, slow, slowly, soon, timely, in a
timely manner, responsive, snappy, instant, instantly, immediate, immediately, easy, easily, simple, simply,
user-friendly, user friendly, intuitive, intuitively, robust, robustly, reliable, reliably, seamless, seamlessly,
smooth, smoothly, graceful, gracefully, scalable, flexible, flexibly, modular, performant, efficient, efficiently,
effective, effectively, optimal, optimally, optimized, minimal, minimally, maximal, minimize, maximize, adequate,
adequately, appropriate, appropriately, suitable, suitably, proper, properly, sufficient, sufficiently, reasonable,
reasonably, acceptable, acceptably, satisfactory, normal, normally, typical, typically, usual, usually, generally,
mostly, often, frequently, sometimes, occasionally, rarely, regularly, periodically, several, many, few, a few,
some, numerous, various, a lot of, lots of, most, significant, significantly, substantial, substantially,
considerable, large, small, huge, high, highly, low, long, short, good, well, better, best, bad, excellent, great,
nearly, almost, approximately, roughly, state of the art, state-of-the-art, modern, up to date, up-to-date, recent,
recently, relevant, routine, generic, customary, clean, comprehensive, sensible, meaningful, nice, stable, heavy,
heavily, light, excessive, excessively, unnecessary, undue, sane, decent, comfortable, as expected, near real time,
near-real-time, world-class
"""


def _by_longest_word(phrases: str) -> dict[str, re.Pattern[str]]:
    """A small pattern for each word that tells of a phrase; one of them all costs 60 µs a sentence."""
    groups: dict[str, list[str]] = {}
    for phrase in phrases.split(","):
        groups.setdefault(max(_WORD.findall(phrase), key=len), []).append(phrase)
    return {word: re.compile(rf"\b(?:{_words(','.join(group))})\b", re.IGNORECASE) for word, group in groups.items()}


_VAGUE = _by_longest_word(_VAGUE_PHRASES) | {
    word: re.compile(rf"\b{phrase}\s+(?=\d)", re.IGNORECASE)
    for word, phrase in (("about", "about"), ("around", "around"), ("close", r"close\s+to"), ("circa", "circa"))
}
_PRECISE = re.compile(
    r"high(?:er)?[- ]availability\s+(?:pair|mode|cluster|group)|long[- ](?:poll\w*|running)|short[- ]lived"
    r"|most\s+recent|at\s+most|the\s+most|as\s+well\s+as|some\s+of\s+whose|low[- ]priority|high[- ]priority"
    r"|high[- ]water|low[- ]water|best[- ]before|many[- ]to[- ]many|stable\s+(?:sort|order|release|channel)",
    re.IGNORECASE,
)
"""Words of the list that are part of a name or of a bound."""
_PRECISE_WORDS = _set("high higher low long short most some best many well stable")
_ESCAPE = re.compile(
    r"\b(?:(?:if|where|when|whenever|as\s+far\s+as|so\s+far\s+as|wherever)\s+(?:it\s+is\s+|is\s+)?"
    r"(?:possible|necessary|needed|practical|practicable|feasible|applicable|required|appropriate|reasonable|available)"
    r"|as\s+(?:applicable|required|needed|necessary|appropriate|desired)"
    r"|as\s+(?:much|little|many|few|soon|often|quickly|fast|long)\s+as\s+(?:is\s+)?(?:possible|practical|practicable|feasible)"
    r"|to\s+the\s+(?:greatest\s+|fullest\s+)?extent\s+(?:possible|practical|practicable|necessary|feasible)"
    r"|(?:on\s+a\s+)?best[- ]effort(?:\s+basis)?|ideally|preferably|should\s+it\s+(?:prove|be)\s+necessary)\b",
    re.IGNORECASE,
)
_OPEN_ENDED = re.compile(
    r"\betc\b\.?|\band\s+(?:so\s+on|so\s+forth|the\s+like|others?|more)\b(?!\s+than)(?=\s*[.,;)]|\s*$)"
    r"|\b(?:including\s+)?but\s+(?:is\s+|are\s+)?not\s+limited\s+to\b|\bamong\s+others\b|\binter\s+alia\b"
    r"|\bor\s+similar\b|\band/or\s+similar\b|\.\.\.|…",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"\b(?:TB[ADCRS]|TODO|FIXME|XXX+)\b|\?{2,}|(?<![/\w=])<[a-z][a-z _-]{1,40}>"
    r"|\[(?:TB[ADCRS]|todo|value|number|\.{2,}|_+|x+)\]|(?<!\w)_{3,}(?!\w)|\blorem\s+ipsum\b"
    r"|\b(?:yet\s+)?to\s+be\s+(?:determined|defined|decided|confirmed|agreed|specified|announced)\b",
    re.IGNORECASE,
)

_NUMBER = r"\d+(?:[.,]\d+)*"
_FIGURE = re.compile(rf"(?<![\w.,]){_NUMBER}(?!\w|[.,]\d)")
_COMPARED_BEFORE = re.compile(
    r"(?:\b(?:within|under|below|above|beneath|beyond|after|every|at\s+most|at\s+least|up\s+to|exceed(?:s|ing)?"
    r"|(?:less|more|fewer|greater|longer|higher|lower|slower|faster)\s+than|(?:maximum|minimum|limit)\s+of)"
    r"|[<>≤≥]=?)\s*$",
    re.IGNORECASE,
)
_NO_UNIT = re.compile(
    r"\s*(?:$|[.,;:!?)]|(?:"
    + _any("of for and or in at over when while if the to per by from during under after before on with as until is")
    + r")\b)",
    re.IGNORECASE,
)
_COUNTED_BEFORE = re.compile(
    r"\b(?:"
    + _any(
        """
        status codes? ports? versions? ratio factor score rate index counts? numbers? levels? priority severity
        revision generation attempts? cardinality exponent fraction concurrency depth replicas shards
        """
    )
    + r")\b(?:\s+\w+){0,3}\s*$",
    re.IGNORECASE,
)
"""What is counted without a unit."""
_OBJECTIVE = re.compile(
    _NUMBER + r"\s*(?:%|percent\b|per\s+cent\b)(?P<after>[^.;]{0,60})|\b(?:two|three|four|five|six)\s+nines\b",
    re.IGNORECASE,
)
_EVENTS = """
requests? calls? queries events? time minutes? hours? days? jobs? messages? responses? orders? checkouts? payments?
logins? searches reads? writes? runs? deliveries emails? notifications? uploads? downloads? transactions? probes?
attempts? answers? pages? loads? builds? deploys? deployments? records? rows? samples? slices backups? restores?
sessions? connections? operations? users? customers? cases? them imports? exports? alerts? signups commits?
invocations? renders? webhooks?
"""
_OF_EVENTS = re.compile(
    r"\s*(?:or\s+more\s+)?of\s+(?:(?!its\b|their\b)[\w-]+\s+){0,4}?(?:" + _any(_EVENTS) + r")\b", re.IGNORECASE
)
_AVAILABLE = re.compile(
    r"\b(?:availab\w+|uptime|success\s+(?:rate|ratio)|reachable|error\s+(?:rate|ratio)|success)\b", re.IGNORECASE
)
_SORT = f"(?:(?:{_any('rolling calendar consecutive trailing sliding continuous')})\\s+)?"
_PERIOD = "(?:minute|hour|day|week|month|quarter|year)"
_WINDOW = re.compile(
    rf"\b(?:over|during|across|for|per|each|every|any|(?:in|within|of)\s+(?:an?|the|each|every|any|one))\s+"
    rf"(?:(?:an?|the|each|every|any|last|one|past)\s+){{0,3}}{_SORT}"
    rf"(?:\d+|{_any('one two three four six seven twelve thirty ninety')})?[\s-]*{_SORT}{_PERIOD}s?\b"
    rf"|\b(?:hourly|daily|weekly|monthly|quarterly|yearly|annual(?:ly)?|month|quarter)\b"
    rf"|\b\d+[- ]{_PERIOD}\s+window\b|\bover\s+\d+\s*[hdw]\b",
    re.IGNORECASE,
)
_IRREGULAR = _any(
    """
    sent kept held written read shown given made done built known taken found lost put set run shut cut sold told
    paid met left drawn thrown driven chosen frozen broken hidden seen begun brought caught rebuilt rewritten
    overwritten reset split fed led spent understood withdrawn undone re-run rerun torn
    """
)
_PASSIVE = re.compile(
    r"\b(?:shall|must|will|should)\s+(?:(?:not|never|also|only|always)\s+)?(?:have\s+been|be)\s+(?:\w+ly\s+|not\s+)?"
    rf"((?:[\w-]+ed|{_IRREGULAR}))\b(?P<rest>[^.;]*)",
    re.IGNORECASE,
)
_ACTOR = re.compile(
    r"\bby\s+(?!\d|default\b|means\b|then\b|\w+ing\b|at\s|no\s+more|one\b|name\b|date\b|hand\b)", re.IGNORECASE
)
_NO_PARTICIPLE = _set("need speed feed seed breed bleed embed shed bed red unaffected unchanged isolated limited")
_MEASURE = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*(?!\w*[.]\w)")
_COUNTS = _set(
    """
    zero one two three four five six seven eight nine ten twelve once twice no none never every
    """
)
_MODAL = _set("shall must should will")
_QUALITY_VERBS = """
remain stay perform scale handle cope support tolerate ensure maintain improve reduce minimise minimize optimise
optimize guarantee facilitate enhance strive try
"""
_QUALITY_WORDS = _set(_QUALITY_VERBS) | {"be"}
_QUALITY = re.compile(
    r"\b(?:shall|must|should|will)\s+(?:(?:not|never|always)\s+)?"
    rf"(?:be\s+(?!to\b|tb[adcrs]\b|(?:\w+ly\s+)?(?:[\w-]+ed|{_IRREGULAR})\b)(?=[a-z])|(?:{_any(_QUALITY_VERBS)})\b)",
    re.IGNORECASE,
)
"""A demand that is a quality, which a figure has to make precise; not something that is done and can be seen."""


_DIGIT = re.compile(r"[0-9]")
_UNDECIDED_WORDS = _set(
    """
    tbd tba tbc tbr tbs todo fixme xxx xxxx lorem determined defined decided confirmed agreed specified announced
    """
)
_ESCAPE_LAST = _set(
    """
    possible necessary needed practical practicable feasible applicable required appropriate reasonable available
    desired effort ideally preferably
    """
)
_OPEN_LAST = _set("etc on forth like other others more limited alia similar")


def weaknesses(text: str) -> Iterator[tuple[str, Span, str]]:
    """Rule, place and suggestion of each weak word or phrase of a statement."""
    # A look at the words first: most rules have nothing to look for in most sentences.
    words = _tokens(text)
    if not _VAGUE.keys().isdisjoint(words):
        yield from _vague(text, words)
    if not _ESCAPE_LAST.isdisjoint(words):
        for found in _ESCAPE.finditer(text):
            yield "escape", Span(*found.span()), "say when exactly, or leave it out"
    if not _OPEN_LAST.isdisjoint(words) or "..." in text or "…" in text:
        for found in _OPEN_ENDED.finditer(text):
            yield "open-ended", Span(*found.span()), "list what is demanded, all of it"
    if _DIGIT.search(text):
        yield from _unitless(text)
    ratio = "%" in text or not words.isdisjoint(("percent", "cent", "nines"))
    if ratio and (span := _unwindowed(text)) is not None:
        yield "window", span, "add the window: over 30 days, or give the requirement an SLO"
    lowered = text.lower()
    shalls = [*_SHALL.finditer(text)] if lowered.count("shall") + lowered.count("must") > 1 else []
    if len(shalls) > 1:
        yield "several", Span(*shalls[1].span()), "make each 'shall' a requirement of its own and link them"
    if "be" in words:
        for found in _PASSIVE.finditer(text):
            if not _ACTOR.search(found["rest"]) and found[1].lower() not in _NO_PARTICIPLE:
                yield "passive", Span(found.start(), found.end(1)), "name who does it: 'the <system> shall …'"


def _vague(text: str, words: frozenset[str]) -> Iterator[tuple[str, Span, str]]:
    places = sorted(
        (found.start(), found.start() + len(found[0].rstrip()))
        for word in words & _VAGUE.keys()
        for found in _VAGUE[word].finditer(text)
    )
    if not places:
        return
    patterns = [_PRECISE] if not _PRECISE_WORDS.isdisjoint(words) else []
    patterns += [_ESCAPE] if not _ESCAPE_LAST.isdisjoint(words) else []
    over = deque(sorted(found.span() for pattern in patterns for found in pattern.finditer(text)))
    reached = -1
    for start, end in places:
        while over and over[0][1] <= start:
            over.popleft()
        if start >= reached and not (over and over[0][0] <= start):
            reached = end
            yield "vague", Span(start, end), "say how much, with a figure and its unit, or what exactly"


def _unitless(text: str) -> Iterator[tuple[str, Span, str]]:
    for found in _FIGURE.finditer(text):
        if not _NO_UNIT.match(text, found.end()):
            continue
        before = text[max(0, found.start() - 64) : found.start()]
        compared = _COMPARED_BEFORE.search(before)
        if compared and not _COUNTED_BEFORE.search(before[: compared.start()]):
            yield "unit", Span(*found.span()), "give the unit: ms, s, %, requests per second, GiB"


def placeholders(text: str) -> Iterator[Span]:
    """Where something is not decided yet."""
    if not text:
        return
    signs = "<" in text or "[" in text or "??" in text or "__" in text or "XXX" in text
    if signs or not _UNDECIDED_WORDS.isdisjoint(_tokens(text)):
        for found in _PLACEHOLDER.finditer(text):
            yield Span(*found.span())


def can_be_told(text: str) -> bool:
    """Whether one could tell that it is met: by a figure, or since it is something to be seen and not a quality."""
    words = _tokens(text)
    if not _COUNTS.isdisjoint(words) or (_DIGIT.search(text) and _MEASURE.search(text)):
        return True
    if _MODAL.isdisjoint(words):
        return False
    return _QUALITY_WORDS.isdisjoint(words) or _QUALITY.search(text) is None


def _unwindowed(text: str) -> Span | None:
    """The ratio that is demanded without a time window; None where there is none."""
    if _WINDOW.search(text):
        return None
    of_time = _AVAILABLE.search(text) is not None
    for found in _OBJECTIVE.finditer(text):
        after = found["after"]
        if after is None or of_time or _OF_EVENTS.match(after):
            return Span(found.start(), found.end() if after is None else found.start("after"))
    return None
