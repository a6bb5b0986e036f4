"""The tables of the requirements service."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import BigInteger, Identity, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from plumbline_common import db, inbox, outbox


class Base(DeclarativeBase):
    metadata = db.metadata()


outbox.add_tables(Base.metadata)
inbox.add_tables(Base.metadata)


class Requirement(Base):
    """One requirement at its present revision."""

    __tablename__ = "requirements"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=db.new_id)
    number: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    revision: Mapped[int]
    title: Mapped[str] = mapped_column(String(500))
    description: Mapped[str]
    statement: Mapped[str]
    rationale: Mapped[str]
    type: Mapped[str]
    priority: Mapped[str]
    owner_team: Mapped[str | None] = mapped_column(index=True)
    service: Mapped[str | None] = mapped_column(index=True)
    slos: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    verification_method: Mapped[str]
    labels: Mapped[dict[str, str]] = mapped_column(JSONB)
    fingerprint: Mapped[str]
    status: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(db.timestamp())
    created_by: Mapped[str]
    updated_at: Mapped[datetime] = mapped_column(db.timestamp())
    updated_by: Mapped[str]
    authored_by: Mapped[str]
    """Who wrote the present content; a change of state keeps it."""
    verdict: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """The newest verdict, as analysis told it: a projection, no part of the revision."""
    document: Mapped[str] = mapped_column(sa.Text)
    """The API's answer for this row, rendered when the row is written: reads send it as it is."""

    @property
    def key(self) -> str:
        return f"REQ-{self.number}"
