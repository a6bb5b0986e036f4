"""What the requirements API takes and answers."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from plumbline_common.schemas import (
    BudgetRule,
    Name,
    ObjectiveEvidence,
    Priority,
    RequirementSnapshot,
    RequirementStatus,
    RequirementType,
    Schema,
    Slo,
    Storable,
    Team,
    VerdictState,
)
from plumbline_requirements.linting.rules import Severity
from plumbline_requirements.linting.sentences import Pattern

Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), Storable]
Prose = Annotated[str, StringConstraints(max_length=20_000), Storable]
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=100), Storable]
LabelValue = Annotated[str, StringConstraints(max_length=200), Storable]


def _distinct(slos: list[Slo]) -> list[Slo]:
    names = [slo.name for slo in slos]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two SLOs of a requirement can't both be called {name}")
    return slos


Slos = Annotated[list[Slo], Field(max_length=20), AfterValidator(_distinct)]


def _by_spent(rules: list[BudgetRule]) -> list[BudgetRule]:
    found = {rule.spent: rule for rule in rules}
    if len(found) < len(rules):
        raise ValueError("a budget policy has one rule for each part that is spent")
    return [found[spent] for spent in sorted(found)]


BudgetPolicy = Annotated[list[BudgetRule], Field(max_length=10), AfterValidator(_by_spent)]


class RequirementContent(Schema):
    """What people write. Members left out take their defaults."""

    title: Title
    description: Prose = ""
    statement: Prose = ""
    """What is required, one sentence; EARS form is welcome."""
    rationale: Prose = ""
    type: RequirementType = RequirementType.OTHER
    priority: Priority = Priority.SHOULD
    owner_team: Team | None = None
    service: Name | None = None
    slos: Slos = []
    budget_policy: BudgetPolicy = []
    """What happens when so much of the error budget of one of its objectives is spent."""
    verification_method: Annotated[str, StringConstraints(max_length=2000), Storable] = ""
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=50)] = {}
    status: RequirementStatus = RequirementStatus.DRAFT


class RequirementPatch(Schema):
    """A JSON Merge Patch (RFC 7396): what is left out stays, null takes the default."""

    title: Title | None = None
    description: Prose | None = None
    statement: Prose | None = None
    rationale: Prose | None = None
    type: RequirementType | None = None
    priority: Priority | None = None
    owner_team: Team | None = None
    service: Name | None = None
    slos: Slos | None = None
    budget_policy: BudgetPolicy | None = None
    verification_method: Annotated[str, StringConstraints(max_length=2000), Storable] | None = None
    labels: Annotated[dict[LabelKey, LabelValue | None], Field(max_length=50)] | None = None
    status: RequirementStatus | None = None


class VerdictView(Schema):
    """The newest verdict on a requirement; `stale` when it judged another revision than the one in force."""

    state: VerdictState
    previous: VerdictState | None
    revision: int
    stale: bool
    window_start: AwareDatetime
    window_end: AwareDatetime
    objectives: list[ObjectiveEvidence]
    anomalies: list[UUID]
    reason: str
    changed_at: AwareDatetime


class LintWarning(Schema):
    """What is weak in a requirement; `POST /requirements/lint` says more of it."""

    rule: str
    severity: Severity
    pointer: str
    """The member, as a JSON pointer."""
    message: str


class RequirementResponse(RequirementSnapshot):
    reviewers: list[str]
    """Who was asked to review the present content."""
    verdict: VerdictView | None
    warnings: list[LintWarning] = []
    """What the lint found when this was written, without what a label silences."""
    suspect_links: int = 0
    """Of its links, those whose target changed since somebody said that they hold."""


class LintRequest(RequirementContent):
    """A requirement that need not be complete."""

    title: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500), Storable] = ""


class LintFinding(Schema):
    rule: str
    severity: Severity
    pointer: str
    """The member, as a JSON pointer."""
    start: int
    """The first character of the member's text that is meant; 0 with `end` 0 where it is the whole."""
    end: int
    excerpt: str
    message: str
    suggestion: str
    source: str
    """Who says so."""
    silenced: str | None
    """Why it does not count here: the value of the label `lint.<rule>`."""


class LintResponse(Schema):
    pattern: Pattern | None
    """The EARS pattern that the statement follows."""
    findings: list[LintFinding]
    """At most 100."""


Reason = Annotated[str, StringConstraints(max_length=2000), Storable]
Grounds = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000), Storable]
"""A reason that must be given."""
Subject = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), Storable]


class TransitionRequest(Schema):
    to: RequirementStatus
    reason: Reason = ""
    reviewers: Annotated[list[Subject], Field(max_length=20)] = []
    """Who is asked, where `to` is in_review."""


class RestoreRequest(Schema):
    revision: Annotated[int, Field(ge=1, le=2**31 - 1)]
    reason: Reason = ""


class DiscardRequest(Schema):
    reason: Reason = ""
