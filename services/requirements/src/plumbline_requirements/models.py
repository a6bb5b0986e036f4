"""The tables of the requirements service."""

import re
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import BigInteger, Identity, Index, SmallInteger, String, Text, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from plumbline_common import audit, db, idempotency, inbox, outbox


class Base(DeclarativeBase):
    metadata = db.metadata()


outbox.add_tables(Base.metadata)
inbox.add_tables(Base.metadata)
idempotency.add_table(Base.metadata)
audit.add_table(Base.metadata)


def key_of(number: int) -> str:
    """What people call the requirement of this number."""
    return f"REQ-{number}"


def number_of(key: str | None) -> int | None:
    """The number in what people call a requirement; None where it is no such key."""
    found = re.fullmatch(r"REQ-([1-9][0-9]{0,17})", key or "")
    return int(found[1]) if found else None


class Requirement(Base):
    """One requirement at its present revision."""

    __tablename__ = "requirements"
    __table_args__ = (
        # Each filter that leaves few rows reads its page in the order of ids.
        Index("ix_requirements_status_id", "status", "id"),
        Index("ix_requirements_service_id", "service", "id"),
        Index("ix_requirements_service_status_id", "service", "status", "id"),
        Index("ix_requirements_owner_team_id", "owner_team", "id"),
        Index("ix_requirements_owner_team_status_id", "owner_team", "status", "id"),
        Index("ix_requirements_updated_at_id", "updated_at", "id"),
        Index("ix_requirements_created_at", "created_at", postgresql_using="brin"),
        Index("ix_requirements_labels", "labels", postgresql_using="gin"),
        Index(
            "ix_requirements_slo_names",
            text("jsonb_path_query_array(slos, '$[*].name')"),
            postgresql_using="gin",
            postgresql_where=text("slos <> '[]'::jsonb"),
        ),
        Index(
            "ix_requirements_sli_names",
            text("jsonb_path_query_array(slos, '$.**.indicatorRef')"),
            postgresql_using="gin",
            postgresql_where=text("jsonb_path_exists(slos, '$.**.indicatorRef')"),
        ),
        Index("ix_requirements_title_words", text("to_tsvector('simple', title)"), postgresql_using="gin"),
        Index(
            "ix_requirements_reviewers",
            "reviewers",
            postgresql_using="gin",
            postgresql_where=text("status = 'in_review'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=db.new_id)
    number: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    revision: Mapped[int]
    title: Mapped[str] = mapped_column(String(500))
    description: Mapped[str]
    statement: Mapped[str]
    rationale: Mapped[str]
    type: Mapped[str]
    priority: Mapped[str]
    owner_team: Mapped[str | None]
    service: Mapped[str | None]
    slos: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    budget_policy: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    verification_method: Mapped[str]
    labels: Mapped[dict[str, str]] = mapped_column(JSONB)
    fingerprint: Mapped[str]
    status: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(db.timestamp())
    created_by: Mapped[str]
    updated_at: Mapped[datetime] = mapped_column(db.timestamp())
    updated_by: Mapped[str]
    authors: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """Who wrote what is not in force yet: none of them may approve it."""
    in_force: Mapped[int | None]
    """The revision that production is held against: this one, or an earlier one while a change of it is drafted."""
    reviewers: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    """Who was asked to review the present content."""
    verdict: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """The newest verdict, as analysis told it: a projection, no part of the revision."""
    document: Mapped[str] = mapped_column(sa.Text)
    """The API's answer for this row, rendered when the row is written: reads send it as it is."""

    @property
    def key(self) -> str:
        return key_of(self.number)


class Revision(Base):
    """What a requirement was at one revision. Never changed; kept when the requirement is deleted."""

    __tablename__ = "requirement_revisions"

    requirement_id: Mapped[UUID] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(db.timestamp())
    actor: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    changed: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """The members that differ from the revision before; all that differ from their defaults for the first."""
    document: Mapped[str] = mapped_column(Text)
    """The snapshot as JSON. A deletion is the last revision, without a document."""


class Review(Base):
    """What one reviewer said of one revision."""

    __tablename__ = "reviews"
    __table_args__ = (
        Index("ix_reviews_requirement_id_id", "requirement_id", "id"),
        Index(
            "uq_reviews_decision",
            "requirement_id",
            "revision",
            "reviewer",
            unique=True,
            postgresql_where=text("decision <> 'comment'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=db.new_id)
    requirement_id: Mapped[UUID]
    revision: Mapped[int]
    reviewer: Mapped[str] = mapped_column(Text)
    decision: Mapped[str] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(db.timestamp())


class ReviewPolicy(Base):
    """What a team asks of a review; a team without one asks for one approval."""

    __tablename__ = "review_policies"

    team: Mapped[str] = mapped_column(Text, primary_key=True)
    required_approvals: Mapped[int] = mapped_column(SmallInteger)
    revision: Mapped[int]
    updated_at: Mapped[datetime] = mapped_column(db.timestamp())
    updated_by: Mapped[str] = mapped_column(Text)


class CountDelta(Base):
    """A requirement that came to (+1) or left (-1) one combination of facets, not yet folded into the counts."""

    __tablename__ = "requirement_count_deltas"

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    change: Mapped[int] = mapped_column(SmallInteger)
    status: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    priority: Mapped[str] = mapped_column(Text)
    service: Mapped[str | None] = mapped_column(Text)
    owner_team: Mapped[str | None] = mapped_column(Text)


class Count(Base):
    """How many requirements have these facets. `grouping` tells which of them count: 0 is all five, 31 none."""

    __tablename__ = "requirement_counts"
    __table_args__ = (
        sa.UniqueConstraint(
            "grouping", "status", "type", "priority", "service", "owner_team", postgresql_nulls_not_distinct=True
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    grouping: Mapped[int] = mapped_column(SmallInteger)
    status: Mapped[str | None] = mapped_column(Text)
    type: Mapped[str | None] = mapped_column(Text)
    priority: Mapped[str | None] = mapped_column(Text)
    service: Mapped[str | None] = mapped_column(Text)
    owner_team: Mapped[str | None] = mapped_column(Text)
    total: Mapped[int] = mapped_column(BigInteger)


class SavedView(Base):
    """A query that a team keeps under a name."""

    __tablename__ = "saved_views"
    __table_args__ = (sa.UniqueConstraint("team", "name"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=db.new_id)
    team: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    query: Mapped[dict[str, Any]] = mapped_column(JSONB)
    revision: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(db.timestamp())
    created_by: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(db.timestamp())
    updated_by: Mapped[str] = mapped_column(Text)


class Baseline(Base):
    """A named set of revisions. Never changed."""

    __tablename__ = "baselines"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=db.new_id)
    name: Mapped[str] = mapped_column(Text, unique=True)
    description: Mapped[str] = mapped_column(Text)
    team: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(db.timestamp())
    created_by: Mapped[str] = mapped_column(Text)


class BaselineItem(Base):
    """One revision in a baseline."""

    __tablename__ = "baseline_items"

    baseline_id: Mapped[UUID] = mapped_column(sa.ForeignKey("baselines.id"), primary_key=True)
    requirement_id: Mapped[UUID] = mapped_column(primary_key=True)
    revision: Mapped[int]


class Link(Base):
    """One requirement's relation to another. Either may be deleted: nothing holds them."""

    __tablename__ = "links"
    __table_args__ = (
        Index("uq_links_ends", "source_id", "target_id", "type", unique=True),
        Index("ix_links_target_id", "target_id", "type", "source_id"),
        Index("ix_links_suspect", "source_id", postgresql_where=text("suspect_since IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=db.new_id)
    type: Mapped[str] = mapped_column(Text)
    source_id: Mapped[UUID]
    target_id: Mapped[UUID]
    note: Mapped[str] = mapped_column(Text)
    evidence: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    reviewed_fingerprint: Mapped[str] = mapped_column(Text)
    """Of the target, when somebody last said that the link holds."""
    reviewed_revision: Mapped[int]
    suspect_since: Mapped[datetime | None] = mapped_column(db.timestamp())
    """Since when the target has another fingerprint, or is gone: written with the change of the target."""
    revision: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(db.timestamp())
    created_by: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(db.timestamp())
    updated_by: Mapped[str] = mapped_column(Text)


class OpenSloObject(Base):
    """What SLOs share and refer to by kind and name: all of OpenSLO but the SLOs, which requirements pin."""

    __tablename__ = "openslo_objects"

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    revision: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(db.timestamp())
    created_by: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(db.timestamp())
    updated_by: Mapped[str] = mapped_column(Text)


class ConsentColumns:
    """What one asks for and another approves."""

    status: Mapped[str] = mapped_column(Text)
    """What people made of it; that its time is over is told by the clock."""
    revision: Mapped[int]
    requested_at: Mapped[datetime] = mapped_column(db.timestamp())
    requested_by: Mapped[str] = mapped_column(Text)
    decided_at: Mapped[datetime | None] = mapped_column(db.timestamp())
    decided_by: Mapped[str | None] = mapped_column(Text)
    decision_comment: Mapped[str] = mapped_column(Text, server_default="")
    revoked_at: Mapped[datetime | None] = mapped_column(db.timestamp())
    revoked_by: Mapped[str | None] = mapped_column(Text)
    revocation_reason: Mapped[str] = mapped_column(Text, server_default="")


class Exemption(ConsentColumns, Base):
    """A dated leave from a requirement, in force once another has approved it."""

    __tablename__ = "exemptions"
    __table_args__ = (Index("ix_exemptions_requirement_id_id", "requirement_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=db.new_id)
    requirement_id: Mapped[UUID]
    reason: Mapped[str] = mapped_column(Text)
    starts_at: Mapped[datetime] = mapped_column(db.timestamp())
    expires_at: Mapped[datetime] = mapped_column(db.timestamp())


class BudgetAdjustment(ConsentColumns, Base):
    """Times that burn no error budget of some requirements, or of a service's, once another has approved it."""

    __tablename__ = "budget_adjustments"
    __table_args__ = (
        Index("ix_budget_adjustments_requirement_ids", "requirement_ids", postgresql_using="gin"),
        Index("ix_budget_adjustments_service_id", "service", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=db.new_id)
    requirement_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    service: Mapped[str | None] = mapped_column(Text)
    team: Mapped[str | None] = mapped_column(Text)
    category: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    starts_at: Mapped[datetime] = mapped_column(db.timestamp())
    duration: Mapped[str] = mapped_column(Text)
    recurrence: Mapped[str] = mapped_column(Text)
    time_zone: Mapped[str] = mapped_column(Text)
    windows: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    """When it holds, in order, apart from each other; those of a revoked one end with the revocation."""
    ends_at: Mapped[datetime] = mapped_column(db.timestamp())
