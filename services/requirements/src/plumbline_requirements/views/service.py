"""What can be done with views: decide, write, stage."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_origin
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import audit, db
from plumbline_common.auth import UserInfo
from plumbline_common.preconditions import check_match
from plumbline_requirements.listing import rules as listing
from plumbline_requirements.listing.schemas import ListQuery
from plumbline_requirements.listing.service import page as show
from plumbline_requirements.models import SavedView
from plumbline_requirements.requirements import rules as requirements
from plumbline_requirements.requirements.repository import FACETS
from plumbline_requirements.requirements.schemas import RequirementResponse
from plumbline_requirements.views import repository, rules
from plumbline_requirements.views.schemas import ViewContent, ViewPage, ViewResponse

_SEVERAL = {name for name, field in ListQuery.model_fields.items() if get_origin(field.annotation) is list}


async def page(session: AsyncSession, team: str | None, skip: int, limit: int) -> ViewPage:
    rows, total = await repository.page(session, team, skip, limit)
    return ViewPage(items=[ViewResponse.model_validate(row) for row in rows], total=total)


async def read(session: AsyncSession, id: UUID) -> ViewResponse:
    return ViewResponse.model_validate(await repository.find(session, id))


async def create(session: AsyncSession, content: ViewContent, actor: UserInfo) -> ViewResponse:
    """Keep a query. Raises `BadQuery`, `NotYourTeam` and `ViewExists`."""
    _check_query(content.query)
    requirements.check_changeable(content.team, actor)
    now = datetime.now(UTC)
    view = SavedView(
        id=db.new_id(),
        team=content.team,
        name=content.name,
        query=content.query,
        revision=1,
        created_at=now,
        created_by=actor.subject,
        updated_at=now,
        updated_by=actor.subject,
    )
    return await _saved(session, view, "created", sorted(ViewContent.model_fields))


async def replace(
    session: AsyncSession, id: UUID, content: ViewContent, if_match: str | None, actor: UserInfo
) -> ViewResponse:
    """Write a view anew; who gives it to another team belongs to both."""
    _check_query(content.query)
    view = await repository.find(session, id, locked=True)
    check_match(view.revision, if_match)
    requirements.check_changeable(view.team, actor)
    requirements.check_changeable(content.team, actor)
    written = content.model_dump()
    changed = [name for name, value in written.items() if getattr(view, name) != value]
    if not changed:
        return ViewResponse.model_validate(view)
    for name in changed:
        setattr(view, name, written[name])
    view.revision += 1
    view.updated_at, view.updated_by = datetime.now(UTC), actor.subject
    return await _saved(session, view, "updated", changed)


async def delete(session: AsyncSession, id: UUID, if_match: str | None, actor: UserInfo) -> None:
    view = await repository.find(session, id, locked=True)
    check_match(view.revision, if_match)
    requirements.check_changeable(view.team, actor)
    await repository.remove(session, id)
    entry = audit.row_of("deleted", "view", str(id), actor.subject, datetime.now(UTC), revision=view.revision + 1)
    await audit.stage(session, entry)


async def _saved(session: AsyncSession, view: SavedView, action: str, changed: list[str]) -> ViewResponse:
    # Before the write: a name that is taken leaves the row expired.
    written = ViewResponse.model_validate(view)
    if not await repository.save(session, view):
        raise rules.ViewExists(f"{written.team} has a view {written.name!r} already", pointer="/name")
    entry = audit.row_of(
        action,
        "view",
        str(written.id),
        written.updated_by,
        written.updated_at,
        revision=written.revision,
        changed=changed,
        document=written.model_dump_json(),
    )
    await audit.stage(session, entry)
    return written


async def shown(session: AsyncSession, id: UUID, skip: int, limit: int, cursor: str | None) -> bytes:
    """A page of what the view shows, as JSON."""
    view = await read(session, id)
    paging = {"skip": skip, "limit": limit, "cursor": cursor}
    return await show(session, ListQuery.model_validate(_given(view.query) | paging))


def _given(query: rules.Query) -> dict[str, Any]:
    return {name: [value] if name in _SEVERAL and isinstance(value, str) else value for name, value in query.items()}


def _check_query(query: rules.Query) -> None:
    """Raise `BadQuery` unless the list of requirements takes it: a view that is kept can be shown."""
    rules.check_names(query)
    try:
        wanted = ListQuery.model_validate(_given(query))
    except ValidationError as error:
        faults = {rules.pointer(str(each["loc"][0])): _detail(each["msg"]) for each in error.errors()}
        raise rules.BadQuery(faults) from None
    checks: dict[str, Callable[[], object]] = {
        "sort": lambda: listing.order_of(wanted.sort),
        "fields": lambda: listing.names_of(wanted.fields, tuple(RequirementResponse.model_fields), "fields"),
        "facets": lambda: listing.names_of(wanted.facets, FACETS, "facets"),
    }
    for name, check in checks.items():
        try:
            check()
        except listing.BadParameter as refusal:
            raise rules.BadQuery({rules.pointer(name): refusal.detail.removeprefix(f"{name}: ")}) from None


def _detail(message: str) -> str:
    return message.removeprefix("Value error, ")
