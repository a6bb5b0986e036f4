"""Wiring."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial

import threadpoolctl
from fastapi import FastAPI

from plumbline_common import bus, offload, web
from plumbline_search import consumer
from plumbline_search.arrivals.processing import Arrivals
from plumbline_search.documents.router import BODY_LIMITS
from plumbline_search.documents.router import router as documents
from plumbline_search.embedding import models
from plumbline_search.embedding.model_store import MODEL
from plumbline_search.feedback.router import router as feedback
from plumbline_search.indexes import serving
from plumbline_search.indexes.serving import Serving
from plumbline_search.passages import scoring as passages
from plumbline_search.passages.memory import Memory
from plumbline_search.postings import scoring as postings
from plumbline_search.postings.merging import Merger
from plumbline_search.reindexing import building
from plumbline_search.reindexing.building import Builder
from plumbline_search.reindexing.router import router as reindexing
from plumbline_search.saved.router import router as saved
from plumbline_search.searches.legs import Tools
from plumbline_search.searches.router import router as searches
from plumbline_search.searches.router import similar_router as similar
from plumbline_search.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    chosen = settings or Settings.from_environment()
    # There is a worker for each processor: threads of BLAS beside them would wait for each other, up to 30 ms.
    threadpoolctl.threadpool_limits(1, user_api="blas")

    @contextlib.asynccontextmanager
    async def resources(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            state = app.state
            await offload.in_thread(postings.compile_all)
            state.models = await stack.enter_async_context(models.opened(chosen))
            state.serving = Serving(state.sessions, state.models.by_name)
            state.checks["indexes"] = state.serving.check
            state.builder = Builder(state.sessions, state.serving)
            state.search_tools = Tools(state.serving, memory=Memory(chosen.vectors_in_memory_mb))
            async with web.background("start by the database", partial(begin, stack, app), forever=False):
                yield

    async def begin(stack: contextlib.AsyncExitStack, app: FastAPI) -> None:
        """What waits for the database: it says which sizes and models of vectors there are."""
        state = app.state
        there = await serving.found(state.sessions)
        for dimensions in {index.dimensions for index in there}:
            await offload.in_thread(passages.compile_all, dimensions)
        by_name = state.models.by_name
        if MODEL not in by_name and any(index.model == MODEL for index in there):
            by_name[MODEL] = await stack.enter_async_context(models.of_the_wheel(chosen))
        await building.begin_where_due(state.sessions, state.models.configured)
        await state.serving.refresh()
        tools: Tools = state.search_tools
        for what, run in (
            ("hearing of indexes", state.serving.run),
            ("building of indexes", state.builder.run),
            ("vectors in memory", partial(tools.memory.run, state.read_sessions, state.serving)),
            ("merging of the inverted index", Merger(state.sessions).run),
            ("answers for other processes", partial(tools.answers.run, state.sessions)),
            ("arrivals of documents", Arrivals(state.sessions, tools).run),
        ):
            await stack.enter_async_context(web.background(what, run))

    def subscription(app: FastAPI) -> bus.Subscription:
        return consumer.subscription(app.state.sessions, app.state.serving, chosen.indexing_concurrency)

    return web.create_app(
        "search",
        chosen,
        routers=[searches, similar, feedback, saved, documents, reindexing],
        subscription=subscription,
        consumes=consumer.CONSUMES,
        resources=resources,
        body_limits=BODY_LIMITS,
    )
