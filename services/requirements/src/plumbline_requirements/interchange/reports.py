"""Requirements as a report that people read: Markdown or one page of HTML. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from plumbline_common.openslo.words import slo_in_words
from plumbline_common.schemas import Slo, utc
from plumbline_requirements import markup
from plumbline_requirements.markup import plain

_FACTS = (("status", "status"), ("type", "type"), ("priority", "priority"), ("service", "service"),
          ("owner_team", "team"), ("revision", "revision"))  # fmt: skip
_PROSE = (("description", ""), ("rationale", "Rationale"), ("verification_method", "Verification"))
_STYLE = """\
article { border-top: 1px solid var(--line); padding: .5rem 0 1rem; break-inside: avoid; }
h2 { font-size: 1.15rem; margin: .5rem 0; } h2 a { color: var(--faint); text-decoration: none; }
.facts { color: var(--faint); font-size: .9rem; margin: 0; } .statement { font-weight: 600; }
p { white-space: pre-line; margin: .5rem 0; } ul { margin: .25rem 0; padding-left: 1.25rem; }
.verdict { border-radius: .25rem; padding: .1rem .4rem; font-size: .8rem; font-weight: 600; color: #fff; }
.MET { background: #2a7d4f; } .AT_RISK { background: #b26a00; } .VIOLATED { background: #b3261e; }
.NO_DATA { background: #6b7280; }
"""


def opening(form: str, at: datetime, filters: Sequence[str]) -> bytes:
    """The head of a report of what matches `filters`."""
    what = f"{', '.join(filters)}; " if filters else ""
    said = f"{what}as of {utc(at)}"
    if form == "markdown":
        return f"# Requirements\n\n{plain(said)}\n".encode()
    return markup.opening("Requirements", said, _STYLE).encode()


def sections(form: str, documents: Sequence[Mapping[str, Any]]) -> bytes:
    make = _markdown if form == "markdown" else _html
    return "".join(make(document) for document in documents).encode()


def closing(form: str, count: int) -> bytes:
    said = f"{count} requirement{'' if count == 1 else 's'}"
    return (f"\n---\n\n{said}\n" if form == "markdown" else f"<hr>\n<p>{said}</p>\n{markup.CLOSING}").encode()


def _facts(document: Mapping[str, Any]) -> list[str]:
    return [f"{name} {document[member]}" for member, name in _FACTS if document[member] is not None]


def _points(document: Mapping[str, Any]) -> list[str]:
    """The SLOs, and what happens when their budgets are spent."""
    return [
        *(slo_in_words(Slo.model_validate(slo)) for slo in document["slos"]),
        *(
            f"When {rule['spent']:.0%} of an error budget is spent: {' '.join(rule['action'].split())}"
            for rule in document["budget_policy"]
        ),
    ]


def _markdown(document: Mapping[str, Any]) -> str:
    parts = [f"## {document['key']}: {plain(document['title'])}", plain(" · ".join(_facts(document)))]
    if document["statement"]:
        parts.append(f"**{plain(' '.join(document['statement'].split()))}**")
    for member, name in _PROSE:
        if document[member].strip():
            parts.append((f"{name}: " if name else "") + plain(document[member].strip()))
    if points := _points(document):
        parts.append("\n".join(f"- {plain(words)}" for words in points))
    if document["verdict"] is not None:
        parts.append(f"Verdict: {document['verdict']['state']}. {plain(document['verdict']['reason'])}")
    return "\n" + "\n\n".join(parts) + "\n"


def _html(document: Mapping[str, Any]) -> str:
    key = escape(document["key"])
    parts = [
        f'<article id="{key}">\n<h2><a href="#{key}">{key}</a> {escape(document["title"])}</h2>',
        f'<p class="facts">{escape(" · ".join(_facts(document)))}</p>',
    ]
    if document["statement"]:
        parts.append(f'<p class="statement">{escape(document["statement"])}</p>')
    for member, name in _PROSE:
        if document[member].strip():
            parts.append(f"<p>{f'{name}: ' if name else ''}{escape(document[member].strip())}</p>")
    if points := _points(document):
        parts.append("<ul>" + "".join(f"<li>{escape(words)}</li>" for words in points) + "</ul>")
    if document["verdict"] is not None:
        state = escape(document["verdict"]["state"])
        reason = escape(document["verdict"]["reason"])
        parts.append(f'<p><span class="verdict {state}">{state}</span> {reason}</p>')
    return "\n".join(parts) + "\n</article>\n"
