"""An SLO as people say it: for a search, a report. Pure."""

from plumbline_common.schemas import MetricRef, Objective, SignalQuery, Slo

_OPERATORS = {"lte": "at most", "gte": "at least", "lt": "below", "gt": "above"}
_UNITS = {
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "M": "month",
    "Q": "quarter",
    "Y": "year",
}


def slo_in_words(slo: Slo) -> str:
    """For example: 99 % of 1 minute slices with p95 of http.server.request.duration at most 0.3, over 28 days."""
    name = slo.display_name or slo.name.replace("-", " ")
    window = _duration(slo.time_window[0].duration)
    return f"{name}: " + "; ".join(f"{_objective(slo, each)}, over {window}" for each in slo.objectives)


def _objective(slo: Slo, objective: Objective) -> str:
    target = f"{objective.display_name} {100 * objective.fraction:.10g} % of".lstrip()
    if objective.time_slice_window is not None and slo.budgeting_method.of_time:
        target += f" {_duration(objective.time_slice_window, plural=False)} slices with"
    if (indicator := slo.indicator_of(objective)) is None:
        return f"{target} {slo.indicator_ref or objective.indicator_ref}"
    metrics = {role: _metric(metric) for role, metric in indicator.metrics.items()}
    named = indicator.display_name or indicator.name or ""
    match metrics:
        case {"value": value}:
            operator = _OPERATORS[objective.op] if objective.op else ""
            return f"{target} {value} {operator} {objective.value:.10g} {named}".rstrip()
        case {"good": good, "total": total}:
            return f"{target} {total} good by {good} {named}".rstrip()
        case {"bad": bad, "total": total}:
            return f"{target} {total} without {bad} {named}".rstrip()
    return f"{target} {metrics['raw']} {named}".rstrip()


def _metric(reference: MetricRef) -> str:
    query = reference.metric_source.spec
    if not isinstance(query, SignalQuery):
        return " ".join(["query", *(value for value in query.values() if isinstance(value, str))])
    attributes = " ".join(query.attributes.values())
    limit = f" up to {query.le:.10g}" if query.le is not None else ""
    return " ".join(f"{query.aggregation} of {query.metric}{limit} {attributes}".split())


def _duration(shorthand: str, *, plural: bool = True) -> str:
    count, unit = shorthand[:-1], _UNITS[shorthand[-1]]
    return f"{count} {unit}{'s' if plural and count != '1' else ''}"
