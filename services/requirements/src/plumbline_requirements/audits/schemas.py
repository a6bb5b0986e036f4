"""What the audit API answers."""

from typing import Any

from plumbline_common.schemas import Schema


class AuditEntryView(Schema):
    position: int | None
    """The place in the chain; null until it is sealed, a second after it was written."""
    entry: dict[str, Any]
    """action, actor, at, changed, document (SHA-256 of what was written), entity, entity_id, reason, request_id,
    revision, trace_id."""


class AuditPage(Schema):
    items: list[AuditEntryView]
    total: int
