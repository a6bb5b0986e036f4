"""Every event, declared once: a past-tense fact, frozen, with its versioned subject on the class.

On NATS an event is a CloudEvent 1.0 in binary mode: attributes as `ce-*` headers, the data as a JSON body,
`traceparent` of the hop and `ce-traceparent` of the origin. The subject is `plumbline.` + `Event.subject`.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import ClassVar, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AwareDatetime

from plumbline_common.schemas import (
    AnomalySnapshot,
    BudgetAdjustmentSnapshot,
    BudgetRule,
    BurnAlert,
    DeploymentSnapshot,
    Given,
    IncidentSnapshot,
    JobSnapshot,
    Label,
    LogTemplateSnapshot,
    RequirementSnapshot,
    Schema,
    Slo,
    Verdict,
    VerdictState,
)

PREFIX = "plumbline"


class Event(Schema):
    """The base of every event. `key` is the id of the entity: order is kept per key."""

    subject: ClassVar[str]

    @property
    def key(self) -> str:
        raise TypeError(f"{type(self).__name__} names no key")


E = TypeVar("E", bound=Event)


class _AboutRequirement(Event):
    requirement: RequirementSnapshot
    in_force: RequirementSnapshot | None = None
    """What production is held against, where that is not `requirement` itself: a change of it is being drafted."""

    @property
    def key(self) -> str:
        return str(self.requirement.id)


class RequirementCreated(_AboutRequirement):
    subject = "requirements.requirement.created.v1"


class RequirementUpdated(_AboutRequirement):
    subject = "requirements.requirement.updated.v1"
    changed: list[str]
    """The members that differ from the revision before."""


class RequirementTransitioned(_AboutRequirement):
    subject = "requirements.requirement.transitioned.v1"
    previous: str
    actor: str
    reason: str = ""


class RequirementJudged(Event):
    """The verdict that a requirement shows has changed."""

    subject = "requirements.requirement.judged.v1"
    requirement_id: UUID
    revision: int
    """The revision that was judged."""
    state: VerdictState
    stale: bool
    """Whether it judged another revision than the one in force."""
    service: str | None
    owner_team: str | None
    reason: str
    changed_at: AwareDatetime

    @property
    def key(self) -> str:
        return str(self.requirement_id)


class LinkSuspected(Event):
    """The target of a link demands something else than when somebody said that the link holds, or is gone."""

    subject = "requirements.link.suspected.v1"
    link_id: UUID
    type: str
    requirement_id: UUID
    """The source: whose people should look."""
    target_id: UUID
    target_key: str
    target_revision: int
    service: str | None
    """Of the source, as `owner_team`."""
    owner_team: str | None
    at: AwareDatetime

    @property
    def key(self) -> str:
        return str(self.requirement_id)


class _AboutSlo(Event):
    requirement_id: UUID
    requirement_key: str
    requirement_revision: int
    """The revision that is in force now, or with which it ceased to be."""
    service: str | None
    owner_team: str | None
    slo: Slo
    at: AwareDatetime

    @property
    def key(self) -> str:
        return str(self.requirement_id)


class SloDefined(_AboutSlo):
    """Production is held against an SLO that it was not held against before."""

    subject = "requirements.slo.defined.v1"


class SloChanged(_AboutSlo):
    """An SLO that production is held against demands or reads something else than before."""

    subject = "requirements.slo.changed.v1"
    previous: Slo


class SloRemoved(_AboutSlo):
    """Production is not held against `slo` any more."""

    subject = "requirements.slo.removed.v1"


class BudgetAdjusted(Event):
    """Other times than before burn no error budget: an adjustment was approved, or what was to come of it revoked."""

    subject = "requirements.budget.adjusted.v1"
    adjustment: BudgetAdjustmentSnapshot
    at: AwareDatetime

    @property
    def key(self) -> str:
        return str(self.adjustment.id)


class RequirementDeleted(Event):
    subject = "requirements.requirement.deleted.v1"
    requirement_id: UUID
    revision: int
    actor: str

    @property
    def key(self) -> str:
        return str(self.requirement_id)


class DocumentIndexed(Event):
    subject = "search.document.indexed.v1"
    kind: Literal["requirement", "anomaly", "incident", "runbook", "postmortem", "log_template"]
    entity_id: UUID
    revision: int
    model: str
    """Name and version of the embedding model."""

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.entity_id}"


class SuspectedDuplicate(Schema):
    """A requirement that says about the same as another."""

    requirement_id: UUID
    requirement_key: str | None
    title: str
    service: str | None
    same_service: bool
    similarity: float
    """Cosine of the two texts' meanings, at most 1."""
    shared_words: list[str]
    """Of the title and the body, at most 20."""


class DuplicateSuspected(Event):
    """A requirement was written that says about the same as others do."""

    subject = "search.duplicate.suspected.v1"
    requirement_id: UUID
    requirement_key: str | None
    requirement_revision: int
    service: str | None
    pairs: list[SuspectedDuplicate]
    """The most alike first, at most 20."""
    model: str
    at: AwareDatetime

    @property
    def key(self) -> str:
        return str(self.requirement_id)


class SearchMatched(Event):
    """A document came, or was rewritten, that a saved search looks for. Told once for each document."""

    subject = "search.search.matched.v1"
    saved_search_id: UUID
    name: str
    team: str
    kind: Literal["requirement", "anomaly", "incident", "runbook", "postmortem", "log_template"]
    entity_id: UUID
    revision: int
    document_key: str | None
    """What people call it, such as REQ-42."""
    external_id: str | None
    service: str | None
    at: AwareDatetime

    @property
    def key(self) -> str:
        return str(self.saved_search_id)


class _AboutAnomaly(Event):
    anomaly: AnomalySnapshot

    @property
    def key(self) -> str:
        return str(self.anomaly.id)


class AnomalyDetected(_AboutAnomaly):
    subject = "analysis.anomaly.detected.v1"


class AnomalyUpdated(_AboutAnomaly):
    subject = "analysis.anomaly.updated.v1"


class AnomalyResolved(_AboutAnomaly):
    subject = "analysis.anomaly.resolved.v1"


class AnomalyLabelled(_AboutAnomaly):
    """Somebody said whether an anomaly was one."""

    subject = "analysis.anomaly.labelled.v1"
    label: Label
    comment: str
    labelled_at: AwareDatetime
    labelled_by: str


IncidentChange = Literal["anomalies", "acknowledged", "commented", "reopened", "merged", "split"]


class _AboutIncident(Event):
    incident: IncidentSnapshot

    @property
    def key(self) -> str:
        return str(self.incident.id)


class IncidentOpened(_AboutIncident):
    """Anomalies came that belong to no incident yet, or a person split them from one."""

    subject = "analysis.incident.opened.v1"


class IncidentUpdated(_AboutIncident):
    subject = "analysis.incident.updated.v1"
    change: IncidentChange
    """`merged`: another became part of it; `split`: a part of it is an incident of its own now."""


class IncidentClosed(_AboutIncident):
    """It was resolved, or is part of another incident now (`merged_into`)."""

    subject = "analysis.incident.closed.v1"


class DeploymentRecorded(Event):
    """A version of a service was deployed, as whoever deploys has told."""

    subject = "analysis.deployment.recorded.v1"
    deployment: DeploymentSnapshot

    @property
    def key(self) -> str:
        return str(self.deployment.id)


class _AboutJob(Event):
    job: JobSnapshot

    @property
    def key(self) -> str:
        return str(self.job.id)


class JobRequested(_AboutJob):
    """Somebody asked for work that takes long; a worker will take it on."""

    subject = "analysis.job.requested.v1"


class JobStarted(_AboutJob):
    """A worker took a job on; again where the worker before it was lost."""

    subject = "analysis.job.started.v1"


class JobProgressed(_AboutJob):
    """A job is further by a twentieth, or at something else. Not told for each step."""

    subject = "analysis.job.progressed.v1"


class JobCompleted(_AboutJob):
    """A job has its result."""

    subject = "analysis.job.completed.v1"


class JobFailed(_AboutJob):
    """A job ended without a result: it failed, or its time was up (`timed_out`)."""

    subject = "analysis.job.failed.v1"


class JobCancelled(_AboutJob):
    subject = "analysis.job.cancelled.v1"


class _AboutSource(Event):
    source_id: UUID
    name: str
    kind: str
    """prometheus or cloudwatch."""
    at: AwareDatetime

    @property
    def key(self) -> str:
        return str(self.source_id)


class SourceFailing(_AboutSource):
    """Points can't be pulled from a source any more."""

    subject = "analysis.source.failing.v1"
    reason: str
    """A slug, such as timeout."""
    detail: str


class SourceRecovered(_AboutSource):
    """Points are pulled again; what was missed follows."""

    subject = "analysis.source.recovered.v1"
    failing_since: AwareDatetime


class _AboutLogTemplate(Event):
    log_template: LogTemplateSnapshot

    @property
    def key(self) -> str:
        return str(self.log_template.id)


class LogTemplateDiscovered(_AboutLogTemplate):
    """A service logs what it had not logged before."""

    subject = "analysis.log_template.discovered.v1"


class LogTemplateUpdated(_AboutLogTemplate):
    """A template has another text, as others turned out to be one with it, or ten times the lines."""

    subject = "analysis.log_template.updated.v1"


class LogTemplateRemoved(Event):
    """A template is one with another, or came so long ago that it is forgotten."""

    subject = "analysis.log_template.removed.v1"
    log_template_id: UUID
    revision: int
    service: str
    merged_into: UUID | None

    @property
    def key(self) -> str:
        return str(self.log_template_id)


class _AboutObjective(Event):
    requirement_id: UUID
    requirement_revision: int
    slo: str
    objective: int
    burn_rate: float | None
    budget_remaining: float | None
    at: AwareDatetime

    @property
    def key(self) -> str:
        return str(self.requirement_id)


class ObjectiveBurning(_AboutObjective):
    """Told when an objective comes to be at risk, and again when its alert becomes one that pages."""

    subject = "analysis.objective.burning.v1"
    alert: Given[BurnAlert] = None


class ObjectiveExhausted(_AboutObjective):
    subject = "analysis.objective.exhausted.v1"


class ObjectiveRecovered(_AboutObjective):
    subject = "analysis.objective.recovered.v1"


class PolicyReached(_AboutObjective):
    """So much of an error budget is spent that a rule of the requirement's budget policy applies."""

    subject = "analysis.policy.reached.v1"
    rule: BudgetRule


class VerdictChanged(Event):
    subject = "analysis.verdict.changed.v1"
    verdict: Verdict
    changed_at: AwareDatetime

    @property
    def key(self) -> str:
        return str(self.verdict.requirement_id)


@dataclass(frozen=True)
class Received(Generic[E]):
    """An event as a consumer gets it. `position` is gapless per producer and starts at 1."""

    id: UUID
    producer: str
    position: int
    time: datetime
    data: E


@cache
def registry() -> dict[str, type[Event]]:
    """Every published event by its subject."""
    found: dict[str, type[Event]] = {}
    pending: list[type[Event]] = [Event]
    while pending:
        for kind in pending.pop().__subclasses__():
            pending.append(kind)
            if "subject" in kind.__dict__:
                found[kind.subject] = kind
    return dict(sorted(found.items()))
