"""Wiring."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from plumbline_common import bus, web
from plumbline_search import consumer
from plumbline_search.documents.refreshing import Refresher
from plumbline_search.documents.router import BODY_LIMITS
from plumbline_search.documents.router import router as documents
from plumbline_search.embedding import embedder
from plumbline_search.postings.merging import Merger
from plumbline_search.searches.router import router as searches
from plumbline_search.searches.service import Tools
from plumbline_search.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    chosen = settings or Settings()

    @contextlib.asynccontextmanager
    async def resources(app: FastAPI) -> AsyncIterator[None]:
        state = app.state
        async with (
            embedder.in_processes(
                chosen.model_cache,
                processes=chosen.embedding_processes,
                batch=chosen.embedding_batch,
                waiting=chosen.embedding_waiting,
                remembered=chosen.embedding_remembered,
            ) as state.embedder,
            web.background("merging of the inverted index", Merger(state.sessions).run),
            web.background("refreshing of documents", Refresher(state.sessions, state.embedder).run),
        ):
            state.search_tools = Tools(state.embedder)
            yield

    def subscription(app: FastAPI) -> bus.Subscription:
        return consumer.subscription(app.state.sessions, app.state.embedder, chosen.indexing_concurrency)

    return web.create_app(
        "search",
        chosen,
        routers=[searches, documents],
        subscription=subscription,
        consumes=consumer.CONSUMES,
        resources=resources,
        body_limits=BODY_LIMITS,
    )
