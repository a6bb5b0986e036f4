"""Begin, cancel and look at the building of an index; check the live one."""

from dataclasses import asdict

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import bus
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Conflict, NotFound
from plumbline_search.embedding.embedder import Embedder
from plumbline_search.indexes import repository
from plumbline_search.reindexing.schemas import CheckResponse, IndexResponse, ProducerStanding, ReindexResponse
from plumbline_search.text import analysis


class AlreadyReindexing(Conflict):
    slug = "already-reindexing"
    title = "An index is being built, or was swapped in a moment ago"


class NotReindexing(NotFound):
    slug = "not-reindexing"
    title = "No index is being built"


async def status(session: AsyncSession) -> ReindexResponse:
    indexes = {index.state: IndexResponse(**_shown(index)) for index in await repository.every(session)}
    return ReindexResponse(
        documents=await repository.documents(session), live=indexes.get("live"), building=indexes.get("building")
    )


def _shown(index: repository.Index) -> dict[str, object]:
    return {name: value for name, value in asdict(index).items() if name in IndexResponse.model_fields}


async def begin(session: AsyncSession, configured: Embedder, actor: UserInfo) -> ReindexResponse:
    """Raises `AlreadyReindexing`."""
    begun = await repository.begin(session, configured.model, configured.dimensions, analysis.VERSION, actor.subject)
    if begun is None:
        raise AlreadyReindexing("look at GET /api/v1/reindex; cancel it with DELETE, or try again in a minute")
    return await status(session)


async def cancel(session: AsyncSession) -> None:
    """Raises `NotReindexing`."""
    building = next((index for index in await repository.every(session) if index.state == "building"), None)
    if building is None:
        raise NotReindexing("the live index is the only one")
    await repository.drop(session, building)


async def check(session: AsyncSession, consumer: bus.Consumer) -> CheckResponse:
    """Count what the live index lacks, and ask the producers for what never arrived here."""
    live = next(index for index in await repository.every(session) if index.state == "live")
    producers = [await consumer.repair(producer) for producer in consumer.subscription.producers]
    return CheckResponse(
        documents=await repository.documents(session),
        missing=await repository.count_missing(session, live),
        producers=[ProducerStanding(**asdict(each)) for each in producers],
    )
