"""What a requirement was, and how it came to be what it is."""

import json
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common.errors import NotFound
from plumbline_requirements.history import repository, rules
from plumbline_requirements.history.schemas import Difference, FieldChange, RevisionPage, RevisionView
from plumbline_requirements.requirements.repository import missing


async def page(session: AsyncSession, id: UUID, skip: int, limit: int) -> RevisionPage:
    """Raises `NotFound` where there never was such a requirement."""
    rows, total = await repository.page(session, id, skip, limit)
    if not total:
        raise missing(id)
    return RevisionPage(items=[RevisionView.model_validate(row) for row in rows], total=total)


async def document(session: AsyncSession, id: UUID, revision: int) -> str:
    """One snapshot as JSON. Raises `NotFound`."""
    found = await repository.document(session, id, revision)
    if not found:
        raise NotFound(f"the requirement {id} has no revision {revision}")
    return found


async def difference(session: AsyncSession, id: UUID, first: int, second: int) -> Difference:
    """What leads from one revision to another, in either direction. Raises `NotFound`."""
    before, after = [json.loads(await document(session, id, revision)) for revision in (first, second)]
    changes = [
        FieldChange(pointer=pointer, before=old, after=new) for pointer, old, new in rules.differences(before, after)
    ]
    return Difference(from_revision=first, to_revision=second, changes=changes)
