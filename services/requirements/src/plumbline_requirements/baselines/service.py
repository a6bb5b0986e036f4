"""What can be done with baselines: decide, write, stage."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import audit, db
from plumbline_common.auth import UserInfo
from plumbline_common.preconditions import check_match
from plumbline_requirements.baselines import repository, rules
from plumbline_requirements.baselines.schemas import (
    BaselineContent,
    BaselineDifference,
    BaselineItemPage,
    BaselineItemView,
    BaselinePage,
    BaselineResponse,
    ChangedItem,
    DifferenceTotals,
    ItemContent,
    Selection,
)
from plumbline_requirements.history.rules import differences
from plumbline_requirements.history.schemas import FieldChange
from plumbline_requirements.models import Baseline
from plumbline_requirements.requirements import rules as requirements

REVISION = 1
"""A baseline is never changed: it has one revision, for If-Match."""


async def page(session: AsyncSession, team: str | None, skip: int, limit: int) -> BaselinePage:
    rows, total = await repository.page(session, team, skip, limit)
    return BaselinePage(items=[BaselineResponse.model_validate(row) for row in rows], total=total)


async def read(session: AsyncSession, id: UUID) -> BaselineResponse:
    return BaselineResponse.model_validate(await repository.find(session, id))


async def create(
    session: AsyncSession, content: BaselineContent, items: Sequence[ItemContent], actor: UserInfo
) -> BaselineResponse:
    """Set down `items`, or what `content.select` matches now. Raises `BadItems`, `NotYourTeam`, `BaselineExists`."""
    requirements.check_changeable(content.team, actor)
    now = datetime.now(UTC)
    baseline = Baseline(
        id=db.new_id(),
        name=content.name,
        description=content.description,
        team=content.team,
        created_at=now,
        created_by=actor.subject,
    )
    if content.select is not None:
        baseline.size = await _selected(session, baseline, content.select)
    else:
        baseline.size = await _given(session, baseline, items)
    created = BaselineResponse.model_validate(baseline)
    entry = audit.row_of(
        "created",
        "baseline",
        str(created.id),
        actor.subject,
        now,
        revision=REVISION,
        changed=sorted(content.model_fields_set),
        document=created.model_dump_json(),
    )
    await audit.stage(session, entry)
    return created


async def _given(session: AsyncSession, baseline: Baseline, items: Sequence[ItemContent]) -> int:
    rules.check_once(item.requirement_id for item in items)
    given = [(item.requirement_id, item.revision) for item in items]
    made, size = await repository.add(session, baseline, given)
    if size < len(given):
        places = await repository.places_missing(session, given, rules.REPORTED)
        raise rules.BadItems(
            {
                f"/items/{place}": f"the requirement {given[place][0]} has no revision {given[place][1]}"
                for place in places
            }
        )
    _check_made(made, baseline)
    return size


async def _selected(session: AsyncSession, baseline: Baseline, selection: Selection) -> int:
    filters: dict[str, Any] = selection.model_dump(mode="json", exclude_none=True)
    if (label := filters.pop("label", None)) is not None:
        name, given, value = label.partition("=")
        filters |= {"labels": {name: value}} if given else {"label_name": name}
    made, size = await repository.add_selected(session, baseline, filters, rules.LARGEST)
    rules.check_selected(size)
    _check_made(made, baseline)
    return size


def _check_made(made: bool, baseline: Baseline) -> None:
    if not made:
        raise rules.BaselineExists(f"there is a baseline {baseline.name!r} already", pointer="/name")


async def delete(session: AsyncSession, id: UUID, if_match: str | None, actor: UserInfo, reason: str) -> None:
    """Delete a baseline; the revisions that it holds stay."""
    await repository.find(session, id, locked=True)
    check_match(REVISION, if_match)
    await repository.remove(session, id)
    entry = audit.row_of(
        "deleted", "baseline", str(id), actor.subject, datetime.now(UTC), revision=REVISION + 1, reason=reason
    )
    await audit.stage(session, entry)


async def items(session: AsyncSession, id: UUID, skip: int, limit: int) -> BaselineItemPage:
    baseline = await repository.find(session, id)
    rows = await repository.items(session, id, skip, limit)
    return BaselineItemPage(items=[BaselineItemView.model_validate(row) for row in rows], total=baseline.size)


async def difference(session: AsyncSession, first: UUID, second: UUID, skip: int, limit: int) -> BaselineDifference:
    """What leads from one baseline to another. Raises `NotFound`."""
    for id in (first, second):
        await repository.find(session, id)
    totals = await repository.totals(session, first, second)
    rows = await repository.differences(session, first, second, skip, limit)
    return BaselineDifference(
        from_baseline=first,
        to_baseline=second,
        added=[_item(row.new_document) for row in rows if row.kind == "added"],
        removed=[_item(row.old_document) for row in rows if row.kind == "removed"],
        changed=[_changed(row) for row in rows if row.kind == "changed"],
        totals=DifferenceTotals(**{kind: totals.get(kind, 0) for kind in DifferenceTotals.model_fields}),
    )


def _item(document: str) -> BaselineItemView:
    said = orjson.loads(document)
    return BaselineItemView(
        requirement_id=said["id"],
        key=said["key"],
        revision=said["revision"],
        title=said["title"],
        status=said["status"],
    )


def _changed(row: Any) -> ChangedItem:
    before, after = orjson.loads(row.old_document), orjson.loads(row.new_document)
    return ChangedItem(
        requirement_id=row.requirement_id,
        key=after["key"],
        from_revision=row.before,
        to_revision=row.after,
        changes=[
            FieldChange(pointer=pointer, before=old, after=new) for pointer, old, new in differences(before, after)
        ],
    )
