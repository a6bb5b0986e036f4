"""Wiring."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from plumbline_common import bus, web
from plumbline_search import consumer, embeddings
from plumbline_search.router import router
from plumbline_search.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    chosen = settings or Settings()

    @contextlib.asynccontextmanager
    async def resources(app: FastAPI) -> AsyncIterator[None]:
        async with embeddings.in_processes(
            chosen.model_cache,
            processes=chosen.embedding_processes,
            batch=chosen.embedding_batch,
            waiting=chosen.embedding_waiting,
            remembered=chosen.embedding_remembered,
        ) as app.state.embedder:
            yield

    def subscription(app: FastAPI) -> bus.Subscription:
        return consumer.subscription(app.state.sessions, app.state.embedder, chosen.indexing_concurrency)

    return web.create_app(
        "search",
        chosen,
        routers=[router],
        subscription=subscription,
        consumes=consumer.CONSUMES,
        resources=resources,
    )
