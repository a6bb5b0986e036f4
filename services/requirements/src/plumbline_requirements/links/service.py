"""What can be done with links: decide, write, stage."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import audit, db
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Forbidden, Invalid
from plumbline_common.preconditions import check_match
from plumbline_requirements.links import repository, rules
from plumbline_requirements.links.rules import Filters, LinkType
from plumbline_requirements.links.schemas import (
    ClearanceContent,
    ImpactItem,
    ImpactPage,
    LinkContent,
    LinkEnd,
    LinkPage,
    LinkPatch,
    LinkResponse,
    MatrixLink,
    MatrixPage,
    MatrixRow,
)
from plumbline_requirements.models import Link, Requirement, key_of
from plumbline_requirements.requirements import rules as requirements
from plumbline_requirements.requirements.repository import missing as requirement_missing

_OWN = (
    "id", "type", "source_id", "target_id", "note", "evidence", "suspect_since", "reviewed_fingerprint",
    "reviewed_revision", "revision", "created_at", "created_by", "updated_at", "updated_by",
)  # fmt: skip


async def page(session: AsyncSession, asked: Filters, skip: int, limit: int) -> LinkPage:
    rows, total = await repository.page(session, asked, skip, limit)
    return LinkPage(items=[_shown(row) for row in rows], total=total)


async def read(session: AsyncSession, id: UUID) -> LinkResponse:
    return _shown(await repository.shown(session, id))


async def create(session: AsyncSession, content: LinkContent, actor: UserInfo) -> LinkResponse:
    """Link two requirements; the caller must be of the source's team. The target counts as reviewed as it is now.

    Raises `Invalid` for an end that does not exist, `LinkExists`, `LinkCycle` and `NotYourTeam`.
    """
    rules.check_ends(content.source_id, content.target_id)
    rules.check_evidence(content.type, content.evidence)
    # Held, so that no change of the target goes by unseen while the link is written.
    ends = await repository.held(session, [content.source_id, content.target_id])
    for name in ("source_id", "target_id"):
        if getattr(content, name) not in ends:
            raise Invalid(f"no requirement has the id {getattr(content, name)}", pointer=f"/{name}")
    requirements.check_changeable(ends[content.source_id].owner_team, actor)
    if content.type in rules.ACYCLIC and await repository.leads_to(session, content.target_id, content.source_id):
        source, target = ends[content.source_id].key, ends[content.target_id].key
        raise rules.LinkCycle(f"{target} derives from {source} or refines it already, maybe over others")
    now = datetime.now(UTC)
    link = Link(
        id=db.new_id(),
        type=content.type.value,
        source_id=content.source_id,
        target_id=content.target_id,
        note=content.note,
        evidence=_json(content.evidence),
        reviewed_fingerprint=ends[content.target_id].fingerprint,
        reviewed_revision=ends[content.target_id].revision,
        suspect_since=None,
        revision=1,
        created_at=now,
        created_by=actor.subject,
        updated_at=now,
        updated_by=actor.subject,
    )
    await repository.save(session, link)
    return await _told(session, link, "created", actor, "", sorted(content.model_fields_set))


async def change(
    session: AsyncSession, id: UUID, patch: LinkPatch, if_match: str | None, actor: UserInfo
) -> LinkResponse:
    """Change note or evidence."""
    link, _ = await _changeable(session, id, if_match, actor)
    if "evidence" in patch.model_fields_set:
        rules.check_evidence(LinkType(link.type), patch.evidence)
        link.evidence = _json(patch.evidence)
    if "note" in patch.model_fields_set:
        link.note = patch.note or ""
    _next(link, actor)
    await repository.save(session, link)
    return await _told(session, link, "updated", actor, "", sorted(patch.model_fields_set))


async def clear(
    session: AsyncSession, id: UUID, content: ClearanceContent, if_match: str | None, actor: UserInfo
) -> LinkResponse:
    """Say that the link holds though the target has changed: it counts as reviewed as it is now."""
    link, target = await _changeable(session, id, if_match, actor)
    if target is None:
        raise requirement_missing(link.target_id)
    link.reviewed_fingerprint, link.reviewed_revision = target.fingerprint, target.revision
    link.suspect_since = None
    _next(link, actor)
    await repository.save(session, link)
    changed = ["reviewed_fingerprint", "reviewed_revision", "suspect"]
    return await _told(session, link, "cleared", actor, content.reason, changed)


async def delete(session: AsyncSession, id: UUID, if_match: str | None, actor: UserInfo) -> None:
    link, _ = await _changeable(session, id, if_match, actor)
    await repository.remove(session, link)
    await _audited(session, link, "deleted", actor, datetime.now(UTC))


async def impact(session: AsyncSession, id: UUID, types: Sequence[LinkType], skip: int, limit: int) -> ImpactPage:
    """What a change of this requirement reaches. Raises `NotFound` where nothing knows of it."""
    rows, total = await repository.impact(session, id, types, skip, limit)
    if not total and not await repository.exists(session, id):
        raise requirement_missing(id)
    items = [
        ImpactItem(
            id=row.id,
            key=None if row.number is None else key_of(row.number),
            title=row.title,
            status=row.status,
            owner_team=row.owner_team,
            service=row.service,
        )
        for row in rows
    ]
    return ImpactPage(items=items, total=total)


async def matrix(
    session: AsyncSession, service: str | None, owner_team: str | None, skip: int, limit: int
) -> MatrixPage:
    """Requirements with all that they are linked with."""
    rows, total = await repository.requirements(session, service, owner_team, skip, limit)
    cells = await repository.cells(session, [row.id for row in rows])
    return MatrixPage(
        items=[MatrixRow(requirement=_named(row, ""), links=[_cell(cell) for cell in cells[row.id]]) for row in rows],
        total=total,
    )


async def _changeable(
    session: AsyncSession, id: UUID, if_match: str | None, actor: UserInfo
) -> tuple[Link, Requirement | None]:
    """The link and its target, held. Raises unless the caller is of the source's team, or an admin."""
    # First the requirements, then the link: in the order in which a change of the target takes them.
    source_id, target_id = await repository.ends(session, id)
    ends = await repository.held(session, [source_id, target_id])
    link = await repository.locked(session, id)
    check_match(link.revision, if_match)
    if source_id in ends:
        requirements.check_changeable(ends[source_id].owner_team, actor)
    elif not actor.may("admin"):
        raise Forbidden("the requirement that has this link was deleted: an admin changes it")
    return link, ends.get(target_id)


def _next(link: Link, actor: UserInfo) -> None:
    link.revision += 1
    link.updated_at = datetime.now(UTC)
    link.updated_by = actor.subject


async def _told(
    session: AsyncSession, link: Link, action: str, actor: UserInfo, reason: str, changed: list[str]
) -> LinkResponse:
    written = _shown(await repository.shown(session, link.id))
    document = written.model_dump_json(exclude={"source", "target"})
    await _audited(session, link, action, actor, link.updated_at, reason, changed, document)
    return written


async def _audited(
    session: AsyncSession,
    link: Link,
    action: str,
    actor: UserInfo,
    at: datetime,
    reason: str = "",
    changed: Sequence[str] = (),
    document: str = "",
) -> None:
    entry = audit.row_of(
        action,
        "link",
        str(link.id),
        actor.subject,
        at,
        revision=link.revision,
        reason=reason,
        changed=changed,
        document=document,
    )
    await audit.stage(session, entry)


def _json(evidence: Any) -> dict[str, Any] | None:
    return None if evidence is None else evidence.model_dump(mode="json")


def _shown(row: Row[Any]) -> LinkResponse:
    link: Link = row.Link
    return LinkResponse(
        **{name: getattr(link, name) for name in _OWN},
        suspect=link.suspect_since is not None,
        source=_end(row, "from_"),
        target=_end(row, "to_"),
    )


def _end(row: Row[Any], prefix: str) -> LinkEnd | None:
    return None if getattr(row, f"{prefix}id") is None else _named(row, prefix)


def _named(row: Row[Any], prefix: str) -> LinkEnd:
    members = {name: getattr(row, prefix + name) for name in LinkEnd.model_fields if name != "key"}
    return LinkEnd(key=key_of(getattr(row, f"{prefix}number")), **members)


def _cell(row: Row[Any]) -> MatrixLink:
    return MatrixLink(
        id=row.id,
        type=row.type,
        direction=row.direction,
        other_id=row.other_id,
        other_key=None if row.number is None else key_of(row.number),
        other_title=row.title,
        suspect=row.suspect,
        result=row.result,
    )
