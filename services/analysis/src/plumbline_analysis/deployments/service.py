"""Deployments: recorded once, read by people and by whoever explains an anomaly."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.deployments import repository
from plumbline_analysis.deployments.schemas import DeploymentContent, DeploymentPage
from plumbline_common import db, outbox
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Conflict, Invalid
from plumbline_common.events import DeploymentRecorded
from plumbline_common.schemas import DeploymentSnapshot


class RecordedOtherwise(Conflict):
    slug = "recorded-otherwise"
    title = "A deployment of this id was recorded with other members"


async def page(
    session: AsyncSession, service: str | None, since: datetime | None, until: datetime | None, skip: int, limit: int
) -> DeploymentPage:
    found, total = await repository.page(session, service, since, until, skip, limit)
    return DeploymentPage(items=[DeploymentSnapshot.model_validate(each) for each in found], total=total)


async def one(session: AsyncSession, id: UUID) -> DeploymentSnapshot:
    return DeploymentSnapshot.model_validate(await repository.one(session, id))


async def record(
    session: AsyncSession, content: DeploymentContent, actor: UserInfo, ahead: timedelta
) -> tuple[DeploymentSnapshot, bool]:
    """As `record_once`. Raises `RecordedOtherwise` where it was recorded with other members."""
    recorded, is_new = await record_once(session, content, actor.subject, ahead)
    if not is_new:
        _check_same(recorded, content)
    return recorded, is_new


async def record_once(
    session: AsyncSession, content: DeploymentContent, by: str, ahead: timedelta
) -> tuple[DeploymentSnapshot, bool]:
    """The deployment, and whether it is new: one of the same `external_id` is answered as it was recorded.

    Raises `Invalid` for one further ahead than `ahead`.
    """
    now = datetime.now(UTC)
    if content.deployed_at is not None and content.deployed_at > now + ahead:
        raise Invalid("must not be ahead: record what is deployed when it is", pointer="/deployed_at")
    members = content.model_dump() | {"deployed_at": content.deployed_at or now}
    made = await repository.add(session, id=db.new_id(), recorded_at=now, recorded_by=by, **members)
    if made is None:
        known = await repository.named(session, content.service, content.external_id)
        return DeploymentSnapshot.model_validate(known), False
    deployment = DeploymentSnapshot.model_validate(made)
    await outbox.stage(session, DeploymentRecorded(deployment=deployment))
    return deployment, True


def _check_same(known: DeploymentSnapshot, content: DeploymentContent) -> None:
    for name, value in content.model_dump(exclude_unset=True).items():
        if value != getattr(known, name):
            raise RecordedOtherwise(f"it was recorded as {known.id} with another {name}", pointer=f"/{name}")
