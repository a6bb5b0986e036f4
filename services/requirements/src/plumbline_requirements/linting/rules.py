"""The lint of a requirement: each rule with its source, its severity, a suggestion, and a way to silence it.

A rule reads the text as a careful reader would at first sight: words and their order, no grammar. It is silenced by a
label `lint.<rule>` whose value says why; the finding stays, with the reason.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

from plumbline_common.schemas import Slo
from plumbline_requirements.linting import sentences
from plumbline_requirements.linting.objectives import contradictions
from plumbline_requirements.linting.sentences import Pattern, Span

Severity = Literal["error", "warning", "info"]
SILENCER = "lint."
MOST = 100
"""Findings of one requirement."""

EARS = "Mavin et al., Easy Approach to Requirements Syntax (EARS), IEEE RE'09"
INCOSE = "INCOSE Guide to Writing Requirements v4"
ISO_29148 = "ISO/IEC/IEEE 29148:2018"
WORKBOOK = "Google, The Site Reliability Workbook, chapter 2"


@dataclass(frozen=True)
class Rule:
    severity: Severity
    says: str
    source: str


RULES: dict[str, Rule] = {
    "ears": Rule("info", "The statement follows none of the EARS patterns", EARS),
    "vague": Rule("warning", "Readers will differ on what a vague word demands", f"{INCOSE}, R7"),
    "escape": Rule("warning", "An escape clause lets the system do nothing", f"{INCOSE}, R8"),
    "open-ended": Rule("warning", "An open-ended list demands what nobody wrote", f"{INCOSE}, R9"),
    "unit": Rule("warning", "A number without its unit can be read in several ways", f"{INCOSE}, R6"),
    "window": Rule("warning", "A ratio demands nothing until it says over which time", WORKBOOK),
    "several": Rule("warning", "Several demands in one cannot be met, tested or waived alone", f"{INCOSE}, R18"),
    "passive": Rule("info", "The passive voice does not say who does it", f"{INCOSE}, R2"),
    "placeholder": Rule("error", "A placeholder is not decided yet", f"{ISO_29148}, 5.2.6"),
    "criterion": Rule("warning", "Nothing says how to tell that it is met", f"{INCOSE}, R34"),
    "contradiction": Rule("error", "Text and SLO demand different things", f"{ISO_29148}, 5.2.6"),
}
"""By name. The order is that of the documentation."""


class Finding(NamedTuple):
    """`start` and `end` count characters of `member`; both 0 where it is the whole."""

    rule: str
    severity: Severity
    member: str
    start: int
    end: int
    excerpt: str
    message: str
    suggestion: str
    source: str
    silenced: str | None = None
    """Why this rule does not count here."""


class Subject(NamedTuple):
    """What of a requirement is read."""

    title: str = ""
    statement: str = ""
    description: str = ""
    rationale: str = ""
    verification_method: str = ""
    slos: Sequence[Slo] = ()
    labels: tuple[tuple[str, str], ...] = ()


class Report(NamedTuple):
    pattern: Pattern | None
    """The EARS pattern of the statement; None where it follows none."""
    findings: list[Finding]


def lint(subject: Subject) -> Report:
    """What is weak in a requirement, in the order of its members and their text."""
    pattern, found = sentences.pattern(subject.statement), []
    if subject.statement.strip() and pattern is None:
        found.append(_finding("ears", "statement", subject.statement, Span(0, 0), _ears_hint(subject.statement)))
    found += [
        _finding(name, "statement", subject.statement, span, hint)
        for name, span, hint in islice(sentences.weaknesses(subject.statement), MOST)
        if name != "window" or not subject.slos  # each of which has its window
    ]
    for member in ("title", "statement", "description", "rationale", "verification_method"):
        text: str = getattr(subject, member)
        for span in islice(sentences.placeholders(text), MOST) if text else ():
            found.append(
                _finding("placeholder", member, text, span, "decide it, or say in the rationale who will and when")
            )
    found += _criterion(subject)
    if subject.slos:
        found += _contradictions(subject)
    if found and subject.labels:
        reasons = {key.removeprefix(SILENCER): value for key, value in subject.labels if key.startswith(SILENCER)}
        found = [_silenced(each, reasons) for each in found]
    return Report(pattern, found[:MOST])


def _finding(rule: str, member: str, text: str, span: Span, suggestion: str) -> Finding:
    known = RULES[rule]
    excerpt = text[span.start : span.end]
    said = f"{known.says}: {excerpt!r}" if excerpt else known.says
    return Finding(rule, known.severity, member, span.start, span.end, excerpt, said, suggestion, known.source)


def _silenced(finding: Finding, reasons: dict[str, str]) -> Finding:
    reason = reasons.get(finding.rule, "").strip()
    return finding._replace(silenced=reason) if reason else finding


def _ears_hint(statement: str) -> str:
    if "shall" not in statement.lower():
        return "say what the system does: 'The <system> shall <response>', after 'When <trigger>,' where there is one"
    return "put the condition first: 'While <state>, when <trigger>, the <system> shall <response>'"


def _criterion(subject: Subject) -> Iterator[Finding]:
    text = subject.statement or subject.title
    if not text.strip() or subject.slos or subject.verification_method.strip():
        return
    if not sentences.can_be_told(text):
        member = "statement" if subject.statement else "title"
        hint = "add a figure with its unit, an SLO, or a verification_method"
        yield _finding("criterion", member, text, Span(0, 0), hint)


def _contradictions(subject: Subject) -> Iterator[Finding]:
    for member in ("title", "statement"):
        text: str = getattr(subject, member)
        for span, hint in contradictions(text, subject.slos):
            yield _finding("contradiction", member, text, span, hint)
