"""What is wrong with a text that should be OpenSLO v1, and where."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from plumbline_common.openslo import objects, reading
from plumbline_common.openslo.objects import KINDS, OBJECTS, SLI, SLO, Indicator, Object, SliSpec
from plumbline_common.openslo.reading import Node, Unreadable

Severity = Literal["error", "warning"]
Path = tuple[str | int, ...]

_ELSEWHERE = {
    "openslo/v1alpha": (
        "timeWindows (unit, count) become timeWindow (duration: 28d); ratioMetrics of an objective becomes"
        " indicator.spec.ratioMetric; source, queryType and query become metricSource.type and metricSource.spec"
    ),
    "openslo.com/v2alpha": (
        "sli and sliRef become indicator and indicatorRef; dataSourceRef and dataSourceSpec of a metric become"
        " metricSource.metricSourceRef and metricSource.type, and its spec metricSource.spec"
    ),
}
_ELSEWHERE |= {
    "openslo/v2alpha": _ELSEWHERE["openslo.com/v2alpha"],
    "openslo/v2alpha1": _ELSEWHERE["openslo.com/v2alpha"],
}


@dataclass(frozen=True, order=True)
class Finding:
    """Something wrong at a place. `line` and `column` count from 1; `pointer` is RFC 6901 within the document."""

    file: str
    line: int
    column: int
    document: int
    """Of the file, from 1."""
    pointer: str
    severity: Severity
    reason: str
    subject: str = ""
    """Kind and name of the object, such as `SLO checkout-latency`."""


class Places:
    """Where things stand in a text. It is read once more where something must be pointed at, which is seldom: to keep
    where each value of a large text stands would take more memory than all else."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._documents: list[Node] | None = None

    def of(self, document: int, path: Path) -> tuple[int, int]:
        """Line and column of what is at `path` of a document."""
        if self._documents is None:
            self._documents = reading.read(self._text)
        return self._documents[document - 1].place(path)


@dataclass(frozen=True)
class Located:
    """An object with the place where it stands: at `path` of a document."""

    object: Object
    file: str
    document: int
    path: Path
    places: Places

    def place(self, path: Path) -> tuple[int, int]:
        """Line and column of a member."""
        return self.places.of(self.document, self.path + path)

    def finding(self, severity: Severity, path: Path, reason: str) -> Finding:
        line, column = self.place(path)
        subject = f"{self.object.kind} {self.object.name}"
        whole = reading.pointer(self.path + path)
        return Finding(self.file, line, column, self.document, whole, severity, reason, subject)


@dataclass(frozen=True)
class Checked:
    """What the texts hold. Where `findings` has an error, some object may be missing among `objects`."""

    objects: Sequence[Located]
    findings: Sequence[Finding]

    @property
    def ok(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)


def check(texts: Mapping[str, str], known: Iterable[Object] = ()) -> Checked:
    """Check the texts of files as one set. References lead to objects of any of them, or to `known` ones."""
    parsed = parse(texts)
    return Checked(parsed.objects, sorted({*parsed.findings, *together(parsed.objects, known)}))


def parse(texts: Mapping[str, str]) -> Checked:
    """What each object says for itself; `together` has the rest."""
    found: list[Located] = []
    findings: list[Finding] = []
    for file, text in texts.items():
        places, number = Places(text), 0
        try:
            for number, node in enumerate(reading.one_by_one(text), 1):
                for path, each in _roots(node):
                    outcome = _object(each, file, number, path, places)
                    if isinstance(outcome, Located):
                        found.append(outcome)
                    else:
                        findings += outcome
        except Unreadable as error:
            findings.append(Finding(file, error.line, error.column, 1, "", "error", error.reason))
        else:
            if not number:
                findings.append(Finding(file, 1, 1, 1, "", "warning", "holds no object"))
    return Checked(found, findings)


def _roots(node: Node) -> Iterator[tuple[Path, Node]]:
    if node.items is None:
        yield (), node
    else:
        for place, each in enumerate(node.items):
            yield (place,), each


# --- One object -----------------------------------------------------------------------------------------


def _object(node: Node, file: str, document: int, path: Path, places: Places) -> Located | list[Finding]:
    def wrong(inner: Path, reason: str, subject: str = "") -> Finding:
        line, column = node.place(inner)
        return Finding(file, line, column, document, reading.pointer(path + inner), "error", reason, subject)

    if node.members is None:
        return [wrong((), "must be an OpenSLO object: a mapping with apiVersion, kind, metadata and spec")]
    value = node.plain()
    version, kind = value.get("apiVersion"), value.get("kind")
    if version != objects.API_VERSION:
        return [wrong(("apiVersion",), _wrong_version(version))]
    if not isinstance(kind, str) or kind not in OBJECTS:
        lacks = "is required" if kind is None else f"there is no kind {kind} in {objects.API_VERSION}"
        return [wrong(("kind",), f"{lacks}: one of {', '.join(KINDS)}")]
    try:
        thing = OBJECTS[kind].model_validate(value)
    except ValidationError as error:
        metadata = value.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        subject = f"{kind} {name}" if isinstance(name, str) else kind
        return [
            wrong(tuple(part for part in each["loc"] if part != "[key]"), _reason(each), subject)
            for each in error.errors(include_url=False)
        ]
    return Located(thing, file, document, path, places)


def _wrong_version(version: Any) -> str:
    if isinstance(version, str) and version in _ELSEWHERE:
        return (
            f"{version} is another format. To convert: write apiVersion {objects.API_VERSION}; {_ELSEWHERE[version]}"
        )
    if version is None:
        return f"is required: {objects.API_VERSION}"
    return f"must be {objects.API_VERSION}, not {version}"


def _members() -> set[str]:
    parts = [each for each in vars(objects).values() if isinstance(each, type) and issubclass(each, BaseModel)]
    return {str(field.alias) for part in parts for field in part.model_fields.values() if field.alias}


def _reason(error: Mapping[str, Any]) -> str:
    """pydantic's error in the words of someone who writes a file."""
    given, context = error["input"], error.get("ctx", {})
    match error["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            name = str(error["loc"][-1])
            near = difflib.get_close_matches(name, sorted(_members() - {name}), 1)
            return f"{objects.API_VERSION} has no {name} here" + (f"; is {near[0]} meant?" if near else "")
        case "literal_error":
            return f"must be {context['expected']}, not {_quoted(given)}"
        case "string_type":
            quotes = "; put it in quotes" if isinstance(given, bool | int | float) else ""
            return f"must be text, not {_quoted(given)}{quotes}"
        case "string_too_short":
            return "must not be empty"
        case "string_too_long":
            return f"must have at most {context['max_length']} characters, not {len(given)}"
        case "bool_type":
            return f"must be true or false, not {_quoted(given)}"
        case "float_type":
            return f"must be a number, not {_quoted(given)}"
        case "list_type":
            return f"must be a list, not {_quoted(given)}"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"must be a mapping, not {_quoted(given)}"
        case "too_short":
            return f"must have at least {context['min_length']} item"
        case "too_long":
            return f"must have at most {context['max_length']} item, not {context['actual_length']}"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            return (
                f"{str(error['msg']).removeprefix('Input should').replace('be', 'must be', 1).strip()}, not {given}"
            )
    return str(error["msg"])


def _quoted(given: Any) -> str:
    if isinstance(given, dict | list):
        return "a mapping" if isinstance(given, dict) else "a list"
    return {True: "true", False: "false"}[given] if isinstance(given, bool) else repr(given)[:80]


# --- What members say together --------------------------------------------------------------------------


def together(found: Sequence[Located], known: Iterable[Object] = ()) -> Iterator[Finding]:
    """What the objects say with each other, and with `known` ones that they may refer to."""
    names: dict[tuple[str, str], Object] = {(thing.kind, thing.name): thing for thing in known}
    first: dict[tuple[str, str, str], Located] = {}
    for each in found:
        name = identity(each.object)
        if name in first:
            line = first[name].place(("metadata", "name"))[0]
            where = f"line {line} of {first[name].file}" if first[name].file != each.file else f"line {line}"
            yield each.finding(
                "warning",
                ("metadata", "name"),
                f"another {each.object.kind} has this name, in {where}; the last counts",
            )
        first.setdefault(name, each)
        names[name[:2]] = each.object
    for each in found:
        for path, kind, name_of in _references(each.object):
            if (kind, name_of) not in names:
                yield each.finding("warning", path, f"there is no {kind} {name_of} among these")
        if isinstance(each.object, SLO):
            for severity, path, reason in _slo(each.object, names):
                yield each.finding(severity, path, reason)


def identity(thing: Object) -> tuple[str, str, str]:
    """Kind and name, and of an SLO the requirement that it says it belongs to."""
    annotations = thing.metadata.annotations or {}
    return thing.kind, thing.name, annotations.get(objects.REQUIREMENT, "") if thing.kind == "SLO" else ""


def references(thing: Object) -> list[tuple[str, str]]:
    """Kind and name of each object that `thing` refers to."""
    return [(kind, name) for _, kind, name in _references(thing)]


def _references(thing: Object) -> Iterator[tuple[Path, str, str]]:
    kinds = {
        "indicatorRef": "SLI",
        "alertPolicyRef": "AlertPolicy",
        "conditionRef": "AlertCondition",
        "targetRef": "AlertNotificationTarget",
        "metricSourceRef": "DataSource",
    }

    def walk(part: Any, path: Path) -> Iterator[tuple[Path, str, str]]:
        if isinstance(part, list):
            for place, each in enumerate(part):
                yield from walk(each, (*path, place))
        elif isinstance(part, BaseModel):
            for name, field in type(part).model_fields.items():
                value, alias = getattr(part, name), field.alias or name
                if alias in kinds and value is not None:
                    yield (*path, alias), kinds[alias], value
                else:
                    yield from walk(value, (*path, alias))

    return walk(thing.spec, ("spec",))


def _slo(slo: SLO, names: Mapping[tuple[str, str], Object]) -> Iterator[tuple[Severity, Path, str]]:
    spec = slo.spec

    def meant(indicator: Indicator | None, reference: str | None) -> SliSpec | None:
        if indicator is not None:
            return indicator.spec
        named = names.get(("SLI", reference or ""))
        return named.spec if isinstance(named, SLI) else None

    whole = meant(spec.indicator, spec.indicator_ref)
    used: list[SliSpec | None] = []
    thresholds = 0
    for place, objective in enumerate(spec.objectives):
        path: Path = ("spec", "objectives", place)
        sli = meant(objective.indicator, objective.indicator_ref) if objective.composite else whole
        used.append(sli)
        if sli is not None and sli.threshold_metric is not None:
            thresholds += not objective.composite
            for name in ("op", "value"):
                if getattr(objective, name) is None:
                    yield "error", (*path, name), "is required with a thresholdMetric"
        elif sli is not None:
            for name in ("op", "value"):
                if getattr(objective, name) is not None:
                    yield "warning", (*path, name), "has no effect with a ratioMetric"
        if spec.budgeting_method == "Timeslices" and objective.time_slice_target is None:
            yield "error", (*path, "timeSliceTarget"), "is required with the budgetingMethod Timeslices"
        if spec.budgeting_method != "Occurrences":
            if objective.time_slice_window is None:
                reason = f"is required with the budgetingMethod {spec.budgeting_method}"
                yield "error", (*path, "timeSliceWindow"), reason
        else:
            for name, alias in (("time_slice_target", "timeSliceTarget"), ("time_slice_window", "timeSliceWindow")):
                if getattr(objective, name) is not None:
                    yield "warning", (*path, alias), "has no effect with the budgetingMethod Occurrences"
        if objective.composite_weight is not None and not objective.composite:
            yield "warning", (*path, "compositeWeight"), "has no effect without an indicator in each objective"
    if thresholds > 1:
        reason = "the specification allows one objective with a thresholdMetric; other tools may refuse more"
        yield "warning", ("spec", "objectives"), reason
    yield from _seconds(slo, used)


def _seconds(slo: SLO, used: Sequence[SliSpec | None]) -> Iterator[tuple[Severity, Path, str]]:
    ours = all(sli is not None and all(source.type == objects.EXTENSION for source in sli.sources) for sli in used)
    severity: Severity = "warning" if ours else "error"
    windows: list[tuple[Path, Any]] = [
        (("spec", "timeWindow", place, "duration"), window.duration)
        for place, window in enumerate(slo.spec.time_window)
    ]
    windows += [
        (("spec", "objectives", place, "timeSliceWindow"), objective.time_slice_window)
        for place, objective in enumerate(slo.spec.objectives)
    ]
    for path, duration in windows:
        if isinstance(duration, str) and duration.endswith("s"):
            yield severity, path, "OpenSLO counts in m h d w M Q Y; seconds go only with metric sources of Plumbline"
