"""Any OpenSLO v1 documents, for hypothesis."""

from typing import Any

from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9.|/\\]{0,8}[a-z0-9])?", fullmatch=True)
KEYS = st.from_regex(r"[a-zA-Z0-9]([-._a-zA-Z0-9]{0,8}[a-zA-Z0-9])?", fullmatch=True)
DURATIONS = st.from_regex(r"[1-9][0-9]{0,2}[mhdwMQY]", fullmatch=True)
NUMBERS = st.floats(-1e9, 1e9) | st.integers(-1000, 1000)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def mapping(required: dict[str, Any], optional: dict[str, Any] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional or {})


METADATA = mapping(
    {"name": NAMES},
    {
        "displayName": TEXT,
        "labels": st.dictionaries(KEYS, TEXT | st.lists(TEXT, max_size=3), max_size=3),
        "annotations": st.dictionaries(KEYS | KEYS.map(lambda key: f"openslo.com/{key}"), TEXT, max_size=3),
    },
)
DESCRIPTION = {"description": TEXT}
SPEC = st.dictionaries(TEXT, ANYTHING, min_size=1, max_size=3)
QUERY = mapping(
    {
        "metric": KEYS,
        "attributes": st.dictionaries(KEYS, TEXT, min_size=1, max_size=2),
        "aggregation": st.sampled_from(["rate", "p99"]),
    },
    {"le": NUMBERS},
)
"""Which points of Plumbline's own are meant."""
METRIC = st.one_of(
    mapping({"metricSource": source})
    for source in (
        mapping({"type": TEXT.filter(bool), "spec": SPEC}, {"metricSourceRef": NAMES}),
        mapping({"metricSourceRef": NAMES, "spec": SPEC}),
        mapping({"type": st.just("Plumbline"), "spec": QUERY}, {"metricSourceRef": NAMES}),
    )
)
SLI_SPEC = st.one_of(
    mapping({"thresholdMetric": METRIC}, DESCRIPTION),
    *(
        mapping({"ratioMetric": mapping(metrics, {"counter": st.booleans()})}, DESCRIPTION)
        for metrics in (
            {"good": METRIC, "total": METRIC},
            {"bad": METRIC, "total": METRIC},
            {"raw": METRIC, "rawType": st.sampled_from(["success", "failure"])},
        )
    ),
)
INDICATOR = mapping({"metadata": METADATA, "spec": SLI_SPEC})
CONDITION_SPEC = mapping(
    {
        "severity": TEXT.filter(bool),
        "condition": mapping(
            {"threshold": NUMBERS, "lookbackWindow": DURATIONS},
            {
                "kind": st.just("burnrate"),
                "op": st.sampled_from(["lt", "gte"]),
                "alertAfter": DURATIONS | st.just("0m"),
            },
        ),
    },
    DESCRIPTION,
)
TARGET_SPEC = mapping({"target": TEXT.filter(bool)}, DESCRIPTION)


def either(reference: str, kind: str, spec: Any) -> st.SearchStrategy[dict[str, Any]]:
    return mapping({reference: NAMES}) | mapping({"kind": st.just(kind), "metadata": METADATA, "spec": spec})


POLICY_SPEC = mapping(
    {
        "conditions": st.lists(either("conditionRef", "AlertCondition", CONDITION_SPEC), min_size=1, max_size=1),
        "notificationTargets": st.lists(
            either("targetRef", "AlertNotificationTarget", TARGET_SPEC), min_size=1, max_size=2
        ),
    },
    DESCRIPTION | dict.fromkeys(("alertWhenNoData", "alertWhenBreaching", "alertWhenResolved"), st.booleans()),
)
WINDOW = mapping({"duration": DURATIONS}, {"isRolling": st.just(True)}) | mapping(
    {
        "duration": DURATIONS,
        "calendar": mapping(
            {
                "startTime": st.datetimes().map(lambda at: at.isoformat(" ", "seconds")),
                "timeZone": st.sampled_from(["Europe/Berlin", "UTC", "America/New_York"]),
            }
        ),
    },
    {"isRolling": st.just(False)},
)


def objectives(own: dict[str, Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    needed = {
        "op": st.sampled_from(["lt", "lte", "gt", "gte"]),
        "value": NUMBERS,
        "timeSliceTarget": st.floats(0, 1, exclude_min=True),
        "timeSliceWindow": DURATIONS | st.integers(1, 60) | st.floats(0.1, 60),
    }
    one = st.one_of(
        mapping(needed | own | {"target": st.floats(0, 1, exclude_max=True)}, {"displayName": TEXT}),
        mapping(needed | own | {"targetPercent": st.floats(0, 100, exclude_max=True)}, {"displayName": TEXT}),
    )
    return st.lists(one, min_size=1, max_size=3)


SLO_COMMON = {
    "service": NAMES,
    "timeWindow": st.lists(WINDOW, min_size=1, max_size=1),
    "budgetingMethod": st.sampled_from(["Occurrences", "Timeslices", "RatioTimeslices"]),
}
SLO_OPTIONAL = DESCRIPTION | {
    "alertPolicies": st.lists(either("alertPolicyRef", "AlertPolicy", POLICY_SPEC), max_size=2)
}
WEIGHT = {"compositeWeight": st.floats(0.1, 100)}
SLO_SPEC = st.one_of(
    mapping(SLO_COMMON | {"indicator": INDICATOR, "objectives": objectives({})}, SLO_OPTIONAL),
    mapping(SLO_COMMON | {"indicatorRef": NAMES, "objectives": objectives({})}, SLO_OPTIONAL),
    mapping(SLO_COMMON | {"objectives": objectives({"indicator": INDICATOR} | WEIGHT)}, SLO_OPTIONAL),
    mapping(SLO_COMMON | {"objectives": objectives({"indicatorRef": NAMES})}, SLO_OPTIONAL),
)
SPECS = {
    "Service": mapping({}, DESCRIPTION),
    "DataSource": mapping(
        {"type": TEXT.filter(bool), "connectionDetails": ANYTHING.filter(lambda v: v is not None)}, DESCRIPTION
    ),
    "SLI": SLI_SPEC,
    "SLO": SLO_SPEC,
    "AlertPolicy": POLICY_SPEC,
    "AlertCondition": CONDITION_SPEC,
    "AlertNotificationTarget": TARGET_SPEC,
}
DOCUMENTS = st.lists(
    st.one_of(
        *(
            mapping({"apiVersion": st.just("openslo/v1"), "kind": st.just(kind), "metadata": METADATA, "spec": spec})
            for kind, spec in SPECS.items()
        )
    ),
    min_size=1,
    max_size=3,
)
