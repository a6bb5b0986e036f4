"""The models that this process embeds by."""

import contextlib
from collections.abc import AsyncIterator, Collection
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
async def opened(settings: Settings, needed: Collection[str]) -> AsyncIterator[Models]:
    """What is configured, and what an index still `needed` is of, as far as it is known.

    That is the model of the wheel, and the endpoint that was configured before.
    """
    async with contextlib.AsyncExitStack() as stack:
        models = {}
        endpoints = [each for each in (settings.embedding_endpoint, settings.previous_embedding_endpoint) if each]
        if settings.embedding_endpoint is None or MODEL in needed:
            models[MODEL] = await stack.enter_async_context(
                embedder.in_processes(
                    settings.model_cache,
                    processes=settings.embedding_processes,
                    batch=settings.embedding_batch,
                    waiting=settings.embedding_waiting,
                    remembered=settings.embedding_remembered,
                )
            )
        for each in endpoints:
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
