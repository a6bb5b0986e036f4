"""Coverage as a report that people read: one page of HTML with pictures, or Markdown. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from plumbline_common.schemas import utc
from plumbline_requirements import markup
from plumbline_requirements.coverage.schemas import Counts, CoveragePage, Incomplete, UnrequiredServicePage
from plumbline_requirements.listing.rules import Gap
from plumbline_requirements.listing.schemas import FacetName
from plumbline_requirements.markup import plain

_NAMES: Mapping[Gap, str] = {
    "sli": "SLI",
    "owner": "owner",
    "verification": "verification",
    "verdict": "recent verdict",
}
_BY: Mapping[FacetName, str] = {"owner_team": "team"}
_STYLE = """\
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; color: var(--faint); caption-side: bottom; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: middle; }
body { max-width: 62rem; } td.k { white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; } .none { color: var(--faint); }
body > svg { max-width: 100%; height: auto; } svg { display: block; }
svg text { font: 14px system-ui, sans-serif; fill: currentColor; }
.back { fill: var(--line); } .has { fill: #2a7d4f; } .lacks { fill: #b3261e; } .some { background: #b3261e22; }
"""
_WIDTH, _LEFT, _BAR, _ROW = 760, 190, 400, 30


@dataclass(frozen=True)
class Coverage:
    """What a report shows. `filters` in words."""

    counted: CoveragePage
    by: FacetName
    filters: Sequence[str]
    services: UnrequiredServicePage
    incomplete: Sequence[Incomplete]


def _said(coverage: Coverage) -> str:
    what = f"{', '.join(coverage.filters)}; " if coverage.filters else ""
    return f"{what}as of {utc(coverage.counted.at)}"


def _shares(counts: Counts) -> list[tuple[str, int, int]]:
    """What, how many have it, and of how many."""
    without = [
        (f"with {name}", (of := counts.in_force if gap == "verdict" else counts.total) - counts.without[gap], of)
        for gap, name in _NAMES.items()
    ]
    return [*without, ("with all of it", counts.complete, counts.total)]


def _more(shown: int, total: int, what: str) -> str:
    return f"… and {total - shown} {what}" if total > shown else ""


def _by(coverage: Coverage) -> str:
    return _BY.get(coverage.by, coverage.by)


# --- HTML -----------------------------------------------------------------------------------------------


def html(coverage: Coverage) -> str:
    """One page that loads nothing."""
    whole, groups = coverage.counted.whole, coverage.counted.items
    rows = "".join(
        f'<tr><th scope="row">{_value(group.value)}</th><td>{_share(group.complete, group.total)}</td>'
        f'<td class="n">{group.total}</td>{"".join(_cell(group.without[gap]) for gap in _NAMES)}</tr>\n'
        for group in groups
    )
    heads = "".join(f'<th class="n">no {name}</th>' for name in _NAMES.values())
    lacking = "".join(
        f'<tr><td class="k">{escape(each.key)}</td>'
        f"<td>{escape(each.title)}</td><td>{_value(each.service)}</td>"
        f"<td>{_value(each.owner_team)}</td><td>{', '.join(_NAMES[gap] for gap in each.gaps)}</td></tr>\n"
        for each in coverage.incomplete
    )
    named = "".join(
        f"<li>{escape(each.name)}{f': {escape(each.description)}' if each.description else ''}</li>\n"
        for each in coverage.services.items
    )
    unfinished = whole.total - whole.complete
    parts = [
        markup.opening("Coverage of requirements", _said(coverage), _STYLE),
        _picture(whole),
        f"<h2>By {_by(coverage)}</h2>\n<table>\n<thead><tr><th>{_by(coverage)}</th><th>with all of it</th>"
        f'<th class="n">requirements</th>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n'
        f"<caption>{_more(len(groups), coverage.counted.total, 'more')}</caption></table>\n",
        "<h2>Services without requirements</h2>\n",
        f"<ul>\n{named}</ul>\n" if named else '<p class="none">none that OpenSLO&#x27;s objects name</p>\n',
        f"<p>{_more(len(coverage.services.items), coverage.services.total, 'more')}</p>\n",
        "<h2>Requirements that lack something</h2>\n",
        "<table>\n<thead><tr><th>key</th><th>title</th><th>service</th><th>team</th><th>without</th></tr></thead>\n"
        f"<tbody>\n{lacking}</tbody>\n"
        f"<caption>{_more(len(coverage.incomplete), unfinished, 'more')}</caption></table>\n"
        if lacking
        else '<p class="none">none</p>\n',
        markup.CLOSING,
    ]
    return "".join(parts)


def _value(value: str | None) -> str:
    return '<span class="none">none</span>' if value is None else escape(value)


def _cell(count: int) -> str:
    return f'<td class="n{" some" if count else ""}">{count or "–"}</td>'


def _share(has: int, of: int) -> str:
    """A small bar."""
    width = 120 * has / of if of else 0
    label = _percent(has, of)
    return (
        f'<svg viewBox="0 0 170 16" width="170" height="16" role="img" aria-label="{label}">'
        f'<rect class="back" width="120" height="16" rx="3"/>'
        f'<rect class="has" width="{width:.1f}" height="16" rx="3"/><text x="128" y="13">{label}</text></svg>'
    )


def _percent(has: int, of: int) -> str:
    """Whole only where it is the whole."""
    if not of:
        return "–"
    share = 100 * has // of
    return f"{max(share, 1) if has else 0} %"


def _picture(whole: Counts) -> str:
    """A bar for each thing that a requirement should have."""
    bars = []
    for place, (name, has, of) in enumerate(_shares(whole)):
        y = place * _ROW
        width = _BAR * has / of if of else 0
        bars.append(
            f'<text x="{_LEFT - 12}" y="{y + 17}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="lacks" x="{_LEFT}" y="{y + 2}" width="{_BAR if of else 0}" height="20" rx="3"/>'
            f'<rect class="has" x="{_LEFT}" y="{y + 2}" width="{width:.1f}" height="20" rx="3"/>'
            f'<text x="{_LEFT + _BAR + 12}" y="{y + 17}">{_percent(has, of)} ({has} of {of})</text>'
        )
    height = len(bars) * _ROW
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img"'
        f' aria-label="How many requirements have what they should">{"".join(bars)}</svg>\n'
    )


# --- Markdown -------------------------------------------------------------------------------------------


def markdown(coverage: Coverage) -> str:
    whole, groups = coverage.counted.whole, coverage.counted.items
    tables = [
        _table(
            ("", "have it", "of", "share"),
            [(name, has, of, _percent(has, of)) for name, has, of in _shares(whole)],
        ),
        f"## By {_by(coverage)}",
        _table(
            (_by(coverage), "requirements", "with all of it", *(f"no {name}" for name in _NAMES.values())),
            [(each.value, each.total, each.complete, *(each.without[gap] for gap in _NAMES)) for each in groups],
        ),
        _more(len(groups), coverage.counted.total, "more"),
        "## Services without requirements",
        "\n".join(f"- {plain(each.name)}" for each in coverage.services.items) or "none that OpenSLO's objects name",
        _more(len(coverage.services.items), coverage.services.total, "more"),
        "## Requirements that lack something",
        _table(
            ("key", "title", "service", "team", "without"),
            [
                (each.key, each.title, each.service, each.owner_team, ", ".join(_NAMES[gap] for gap in each.gaps))
                for each in coverage.incomplete
            ],
        )
        if coverage.incomplete
        else "none",
        _more(len(coverage.incomplete), whole.total - whole.complete, "more"),
    ]
    return (
        "\n\n".join(["# Coverage of requirements", plain(_said(coverage)), *(each for each in tables if each)]) + "\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str | int | None]]) -> str:
    lines = [head, ["---"] * len(head), *([_text(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: str | int | None) -> str:
    return "–" if value is None else plain(" ".join(str(value).split()))
