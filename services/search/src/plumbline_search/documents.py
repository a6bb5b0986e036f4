"""What of a requirement or an anomaly is searched: its words for both legs and its facets. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from plumbline_common.openslo.words import slo_in_words
from plumbline_common.schemas import AnomalySnapshot, RequirementSnapshot
from plumbline_search.rules import storable

BODY_CHARACTERS = 100_000
"""A tsvector holds 1 MB; what follows is kept by the document's own service, but is not searched."""
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
    facets: dict[str, str] = field(default_factory=dict)

    @property
    def passage(self) -> str:
        """What the embedding is made of: the title and the beginning of the body."""
        return f"{self.title}\n{self.body}"


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
        ),
        service=_facet(anomaly.service),
        state=anomaly.state.value,
        facets={
            "severity": anomaly.severity.value,
            "metric": storable(anomaly.metric)[:FACET_CHARACTERS],
            "direction": anomaly.direction,
        },
    )


def _facet(value: str | None) -> str | None:
    return storable(value)[:FACET_CHARACTERS] if value else None


def _service(name: str | None) -> str:
    return f"service {name}" if name else ""


def _joined(*parts: str) -> str:
    return storable("\n".join(_nonempty(parts)))[:BODY_CHARACTERS]


def _nonempty(parts: Iterable[str]) -> Iterable[str]:
    return (part for part in parts if part.strip())
