"""Wiring of the requirements service: `uvicorn plumbline_requirements.main:create_app --factory`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from fastapi import FastAPI
from sqlalchemy.exc import DataError, IntegrityError

from plumbline_common import audit, idempotency, web
from plumbline_common.batching import Batcher
from plumbline_common.errors import PlumblineError
from plumbline_common.events import VerdictChanged
from plumbline_requirements.adjustments.router import router as adjustments
from plumbline_requirements.audits.router import router as audits
from plumbline_requirements.baselines.router import BODY_LIMITS as BASELINE_LIMITS
from plumbline_requirements.baselines.router import router as baselines
from plumbline_requirements.bulk.router import BODY_LIMITS as BULK_LIMITS
from plumbline_requirements.bulk.router import router as bulk
from plumbline_requirements.consumer import subscription
from plumbline_requirements.coverage.router import router as coverage
from plumbline_requirements.exemptions.router import router as exemptions
from plumbline_requirements.history.router import router as history
from plumbline_requirements.interchange.router import BODY_LIMITS as INTERCHANGE_LIMITS
from plumbline_requirements.interchange.router import router as interchange
from plumbline_requirements.links.router import router as links
from plumbline_requirements.listing.router import router as listing
from plumbline_requirements.listing.service import keep_folding
from plumbline_requirements.openslo.router import BODY_LIMITS as OPENSLO_LIMITS
from plumbline_requirements.openslo.router import router as openslo
from plumbline_requirements.requirements import repository, service
from plumbline_requirements.requirements.router import router as requirements
from plumbline_requirements.requirements.service import Created, Creation
from plumbline_requirements.reviews.router import router as reviews
from plumbline_requirements.settings import Settings
from plumbline_requirements.stream.router import router as stream
from plumbline_requirements.stream.service import Streams
from plumbline_requirements.views.router import router as views


@asynccontextmanager
async def resources(app: FastAPI) -> AsyncIterator[None]:
    async def load(ids: Sequence[UUID]) -> dict[UUID, tuple[int, str]]:
        async with app.state.read_sessions() as session:
            return await repository.documents(session, ids)

    async def create(wanted: Sequence[Creation]) -> dict[Creation, Created | PlumblineError]:
        async with app.state.read_sessions() as session:
            return await service.create(session, wanted)

    app.state.documents = Batcher(load)
    app.state.creations = Batcher(create, alone=(IntegrityError, DataError))
    settings: Settings = app.state.settings
    app.state.streams = streams = Streams(
        app.state.read_sessions,
        limit=settings.stream_limit,
        heartbeat=settings.stream_heartbeat_seconds,
        send_timeout=settings.stream_send_timeout_seconds,
        tail=settings.stream_tail,
    )
    async with (
        web.background("sealer of the audit log", lambda: audit.keep_sealing(app.state.sessions)),
        web.background("forgetter of idempotency keys", lambda: idempotency.keep_forgetting(app.state.sessions)),
        web.background("folder of the counts", lambda: keep_folding(app.state.sessions)),
        web.background("reader of the event streams", streams.read),
        web.background("end of the event streams", streams.end_at_shutdown, forever=False),
    ):
        yield


def create_app(settings: Settings | None = None) -> FastAPI:
    return web.create_app(
        "requirements",
        settings or Settings.from_environment(),
        routers=[
            listing,
            bulk,
            interchange,
            requirements,
            history,
            reviews,
            audits,
            stream,
            views,
            baselines,
            exemptions,
            adjustments,
            links,
            openslo,
            coverage,
        ],
        subscription=lambda app: subscription(app.state.sessions),
        consumes=[VerdictChanged],
        resources=resources,
        body_limits=BULK_LIMITS | BASELINE_LIMITS | OPENSLO_LIMITS | INTERCHANGE_LIMITS,
    )
