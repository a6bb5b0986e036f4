"""The models that this process embeds by."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from plumbline_search.embedding import embedder, endpoint
from plumbline_search.embedding.embedder import Embedder
from plumbline_search.embedding.model_store import MODEL
from plumbline_search.settings import Settings


@dataclass(frozen=True)
class Models:
    configured: Embedder
    """What a new index is built by."""
    by_name: dict[str, Embedder]


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Models]:
    """What is configured, and the endpoint that was before: an index of it may still be live."""
    async with contextlib.AsyncExitStack() as stack:
        models = {}
        if settings.embedding_endpoint is None:
            models[MODEL] = await stack.enter_async_context(of_the_wheel(settings))
        for each in (settings.embedding_endpoint, settings.previous_embedding_endpoint):
            if each is None:
                continue
            connection = await stack.enter_async_context(endpoint.connected(each))
            models[each.name] = await stack.enter_async_context(
                Embedder(
                    connection.encode,
                    model=each.name,
                    dimensions=each.dimensions,
                    characters=each.characters,
                    folds=False,
                    lanes=each.requests,
                    batch=each.batch,
                    waiting=settings.embedding_waiting,
                    remembered=settings.embedding_remembered,
                )
            )
        configured = MODEL if settings.embedding_endpoint is None else settings.embedding_endpoint.name
        yield Models(models[configured], models)


def of_the_wheel(settings: Settings) -> AbstractAsyncContextManager[Embedder]:
    """By the model that comes with the program."""
    return embedder.in_processes(
        settings.model_cache,
        processes=settings.embedding_processes,
        batch=settings.embedding_batch,
        waiting=settings.embedding_waiting,
        remembered=settings.embedding_remembered,
    )
