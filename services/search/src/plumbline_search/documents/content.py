"""What of requirements, anomalies, incidents and log templates is searched: words for both legs, and facets. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from plumbline_common.openslo.words import slo_in_words
from plumbline_common.schemas import (
    AnomalySnapshot,
    IncidentSnapshot,
    IncidentState,
    LogTemplateSnapshot,
    RequirementSnapshot,
    utc,
)
from plumbline_search.embedding.encoder import Vectors
from plumbline_search.text import analysis, passages
from plumbline_search.text.passages import Passage

BODY_CHARACTERS = 100_000
"""What follows is kept by the document's own service, but is not searched."""
TITLE_CHARACTERS = 500
FACET_CHARACTERS = 200
"""An index holds 2.7 KB a value, and names from telemetry have no limit of their own."""


@dataclass(frozen=True)
class Document:
    """One revision of one entity, as it is searched. `updated_at` orders what shares a revision."""

    kind: str
    entity_id: UUID
    revision: int
    updated_at: datetime
    title: str
    body: str
    key: str | None = None
    service: str | None = None
    team: str | None = None
    state: str | None = None
    facets: dict[str, Any] = field(default_factory=dict)
    external_id: str | None = None
    url: str | None = None
    readers: Sequence[str] | None = None


@dataclass(frozen=True)
class Content:
    """What a text is found by: its terms, and its passages with a vector each (passages, dimensions)."""

    counts: Counter[str]
    passages: Sequence[Passage]
    vectors: Mapping[int, Vectors]
    """By the id of the index that they are for."""

    @property
    def term_ids(self) -> list[int]:
        return [analysis.term_id(term) for term in self.counts]


def counts_of(key: str | None, title: str, body: str) -> Counter[str]:
    """The terms that the lexical leg knows the text by."""
    return analysis.counts(f"{key or ''}\n{title}\n{body}")


def passages_of(title: str, body: str) -> tuple[list[Passage], list[str]]:
    """The passages of the text, and what the model reads of each: the title, the headings above it, its words."""
    found = passages.of_body(body, markdown=True)
    texts = ["\n".join(_nonempty((title, passage.heading, body[passage.start : passage.stop]))) for passage in found]
    return found, texts


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """`text` without the characters that PostgreSQL cannot store."""
    return _UNSTORABLE.sub(" ", text)


def of_requirement(requirement: RequirementSnapshot) -> Document:
    return Document(
        kind="requirement",
        entity_id=requirement.id,
        revision=requirement.revision,
        updated_at=requirement.updated_at,
        key=_facet(requirement.key),
        title=storable(requirement.title)[:TITLE_CHARACTERS],
        # What is demanded comes first: the model reads the beginning only.
        body=_joined(
            requirement.statement,
            requirement.description,
            *map(slo_in_words, requirement.slos),
            requirement.rationale,
            _service(requirement.service),
            *(f"{name}: {value}" for name, value in sorted(requirement.labels.items())),
        ),
        service=_facet(requirement.service),
        team=_facet(requirement.owner_team),
        state=requirement.status.value,
        facets={"type": requirement.type.value, "priority": requirement.priority.value},
    )


def of_anomaly(anomaly: AnomalySnapshot, seen_at: datetime, requirement: str | None = None) -> Document:
    """`requirement`: key and title of the requirement that the anomaly is about, where it is known."""
    return Document(
        kind="anomaly",
        entity_id=anomaly.id,
        revision=anomaly.revision,
        updated_at=seen_at,
        title=storable(anomaly.title)[:TITLE_CHARACTERS],
        body=_joined(
            f"{anomaly.severity.value} anomaly: {anomaly.aggregation} of {anomaly.metric}"
            f" {'higher' if anomaly.direction == 'up' else 'lower'} than expected",
            _service(anomaly.service),
            f"departs from {requirement}" if requirement else "",
            *(f"{name}: {value}" for name, value in sorted(anomaly.attributes.items())),
            *(anomaly.log.examples if anomaly.log else ()),
        ),
        service=_facet(anomaly.service),
        state=anomaly.state.value,
        facets={
            "severity": anomaly.severity.value,
            "metric": storable(anomaly.metric)[:FACET_CHARACTERS],
            "direction": anomaly.direction,
            "onset": utc(anomaly.onset),
            **_ended(anomaly.onset, anomaly.end),
        },
    )


def of_incident(incident: IncidentSnapshot, seen_at: datetime) -> Document:
    """Its service is the one that it may have begun with."""
    lead = incident.origins[0].service if incident.origins else None
    end = incident.resolved_at if incident.state is IncidentState.RESOLVED else None
    return Document(
        kind="incident",
        entity_id=incident.id,
        revision=incident.revision,
        updated_at=seen_at,
        title=storable(incident.title)[:TITLE_CHARACTERS],
        body=_joined(
            f"{incident.severity.value} incident",
            *(f"service {each}" for each in incident.services),
            *(each.sentence for each in incident.anomalies),
            *(f"{each.text}" for origin in incident.origins[:1] for each in origin.reasons),
            *(f"{each.by}: {each.text}" for each in incident.comments),
        ),
        service=_facet(lead),
        state=incident.state.value,
        facets={
            "severity": incident.severity.value,
            "services": [storable(each)[:FACET_CHARACTERS] for each in incident.services],
            "anomalies": incident.anomaly_count,
            "onset": utc(incident.onset),
            **_ended(incident.onset, end),
        },
    )


def of_log_template(template: LogTemplateSnapshot) -> Document:
    return Document(
        kind="log_template",
        entity_id=template.id,
        revision=template.revision,
        updated_at=template.last_seen,
        title=storable(template.template)[:TITLE_CHARACTERS],
        body=_joined(_service(template.service), *template.examples),
        service=_facet(template.service),
        facets={
            "count": template.count,
            "first_seen": utc(template.first_seen),
            "last_seen": utc(template.last_seen),
        },
    )


def _ended(onset: datetime, end: datetime | None) -> dict[str, Any]:
    if end is None:
        return {}
    return {"ended": utc(end), "minutes": round((end - onset).total_seconds() / 60, 1)}


def _facet(value: str | None) -> str | None:
    return storable(value)[:FACET_CHARACTERS] if value else None


def _service(name: str | None) -> str:
    return f"service {name}" if name else ""


def _joined(*parts: str) -> str:
    return storable("\n".join(_nonempty(parts)))[:BODY_CHARACTERS]


def _nonempty(parts: Iterable[str]) -> Iterable[str]:
    return (part for part in parts if part.strip())
