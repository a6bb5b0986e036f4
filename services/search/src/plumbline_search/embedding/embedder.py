"""Text to vector off the event loop: queries before documents, these before what has time, each text once.

The encoder works in a process of its own (`encoder.py`). Texts gather while it is busy and go to it together, so
that no text waits for a window to close and a busy process costs one message for several texts.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from plumbline_common import offload
from plumbline_common.errors import Unavailable
from plumbline_search.embedding import encoder
from plumbline_search.embedding.encoder import Vectors
from plumbline_search.embedding.model_store import DIMENSIONS, MODEL

Vector = npt.NDArray[np.float32]
"""float32 (dimensions,), of length 1."""
Encode = Callable[[list[str]], Awaitable[Vectors]]

CHARACTERS = 2_000
"""What of a text can matter: 256 tokens are rarely more, and the rest need not travel to the process."""
DOCUMENTS_WAITING = 500
"""Texts, some seconds of work."""
_TIMEOUT_SECONDS = 30.0
_LOADING_SECONDS = 300.0
"""The first text of a process waits for the model, which may have to be built, and for whoever else computes."""


class Urgency(IntEnum):
    QUERY = 0
    DOCUMENT = 1
    """Somebody waits until it is found."""
    BACKGROUND = 2


class TooBusy(Unavailable):
    slug = "embedding-busy"
    title = "Too many texts wait for their vectors"


class Refused(Unavailable):
    """An encoder works, but takes none or not all of the texts: each is then given to it alone."""

    slug = "embedding-refused"
    title = "The text cannot be embedded"


class TooSlow(Unavailable, TimeoutError):
    """Also a `TimeoutError`: for the bus a fault of the surroundings, so that the event waits and is not given up."""

    slug = "embedding-too-slow"
    title = "The text could not be embedded in time"


class Embedder:
    """Runs while it is entered (`async with`). Each of `lanes` sends one batch at a time.

    With `queries`, an encoder of their own, queries wait for no document. Without, `batch` bounds how long they do:
    a text takes 3 to 40 ms. `waiting` bounds the queue of queries; documents are bounded by their callers, who wait,
    but for the impatient: they find no more than `DOCUMENTS_WAITING` before them. `remembered` vectors are kept, the
    latest used ones. `characters` of a text are read; `folds` says that the model knows no case.
    """

    def __init__(
        self,
        encode: Encode,
        *,
        queries: Encode | None = None,
        model: str = MODEL,
        dimensions: int = DIMENSIONS,
        characters: int = CHARACTERS,
        folds: bool = True,
        lanes: int = 1,
        batch: int = 4,
        waiting: int = 256,
        remembered: int = 4096,
    ) -> None:
        self.model = model
        self.dimensions = dimensions
        self._encode = encode
        self._encode_queries = queries
        self._characters = characters
        self._folds = folds
        self._lanes = lanes
        self._batch = batch
        self._waiting = waiting
        self._remembered = remembered
        self._known: OrderedDict[str, Vector] = OrderedDict()
        self._pending: dict[str, asyncio.Future[Vector]] = {}
        self._queues: dict[Urgency, deque[str]] = {urgency: deque() for urgency in Urgency}
        self._arrived = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        urgencies = list(Urgency)
        lanes = [(self._encode, urgencies)] * self._lanes
        if self._encode_queries is not None:
            lanes = [(self._encode_queries, urgencies[:1]), *[(self._encode, urgencies[1:])] * self._lanes]
        self._tasks = [asyncio.create_task(self._work(*lane), name="embedding") for lane in lanes]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for future in self._pending.values():
            future.cancel()
        self._pending.clear()

    async def embed(
        self, texts: Sequence[str], *, urgency: Urgency = Urgency.DOCUMENT, patient: bool = True
    ) -> Vectors:
        """One row for each text. The more urgent ones go first.

        Raises `TooBusy` where too many wait, and what the encoder raised where it failed.
        """
        if not patient and len(self._queues[Urgency.DOCUMENT]) >= DOCUMENTS_WAITING:
            raise TooBusy("more documents arrive than can be embedded; try again")
        if urgency is Urgency.QUERY and len(self._queues[urgency]) >= self._waiting:
            raise TooBusy("more queries arrive than can be embedded; try again")
        wanted = [self._wanted(self._key(text), urgency) for text in texts]
        async with self._arrived:
            self._arrived.notify_all()
        # Others may wait for the same text: who gives up must not end it for them.
        vectors: Vectors = np.empty((len(texts), self.dimensions), np.float32)
        for row, future in zip(vectors, wanted, strict=True):
            row[:] = await asyncio.shield(future)
        return vectors

    def _key(self, text: str) -> str:
        """Equal for texts that the model reads as the same."""
        key = " ".join(text[: 2 * self._characters].split())[: self._characters]
        return key.lower() if self._folds else key

    def _wanted(self, text: str, urgency: Urgency) -> asyncio.Future[Vector]:
        if text in self._known:
            self._known.move_to_end(text)
            known: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()
            known.set_result(self._known[text])
            return known
        if text not in self._pending:
            future: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()
            # Retrieved here, for the case that everyone who waited has gone.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._pending[text] = future
            self._queues[urgency].append(text)
            return future
        for later in Urgency:
            if later > urgency and text in self._queues[later]:
                self._queues[later].remove(text)
                self._queues[urgency].append(text)
        return self._pending[text]

    async def _work(self, encode: Encode, urgencies: Sequence[Urgency]) -> None:
        queues = [self._queues[urgency] for urgency in urgencies]
        while True:
            async with self._arrived:
                await self._arrived.wait_for(lambda: any(queues))
                texts = self._take(queues)
            await self._embedded(encode, texts)

    async def _embedded(self, encode: Encode, texts: list[str]) -> None:
        try:
            vectors = await encode(texts)
        except Exception as error:
            if isinstance(error, Refused) and len(texts) > 1:
                for text in texts:
                    await self._embedded(encode, [text])
                return
            for text in texts:
                self._pending.pop(text).set_exception(error)
        else:
            for text, vector in zip(texts, vectors, strict=True):
                self._remember(text, vector)
                self._pending.pop(text).set_result(vector)

    def _take(self, queues: Sequence[deque[str]]) -> list[str]:
        texts: list[str] = []
        for queue in queues:
            while queue and len(texts) < self._batch:
                texts.append(queue.popleft())
        return texts

    def _remember(self, text: str, vector: Vector) -> None:
        self._known[text] = vector
        while len(self._known) > self._remembered:
            self._known.popitem(last=False)


@contextlib.asynccontextmanager
async def in_processes(
    cache: Path, *, processes: int = 2, batch: int = 4, waiting: int = 256, remembered: int = 4096
) -> AsyncIterator[Embedder]:
    """An embedder that is warm when it is entered; the first on a machine builds the model into `cache`.

    Of several processes one is for queries alone; the others, for documents, leave the processor to whatever else
    wants it.
    """
    async with contextlib.AsyncExitStack() as stack:
        pools: list[offload.ProcessPool] = []

        async def encoding(processes: int, initializer: Callable[[], None]) -> Encode:
            pool = await stack.enter_async_context(offload.ProcessPool(processes, initializer=initializer))
            pools.append(pool)

            async def encode(texts: list[str]) -> Vectors:
                try:
                    return await pool.run_within(_TIMEOUT_SECONDS, encoder.encode, texts)
                except TimeoutError as error:
                    raise TooSlow("the embedding process is overloaded; try again") from error

            return encode

        first = await encoding(1, partial(encoder.load, cache))
        behind = max(1, processes - 1)
        others = await encoding(behind, partial(encoder.load_behind, cache)) if processes > 1 else None
        embedder = await stack.enter_async_context(
            Embedder(
                others or first,
                queries=first if others else None,
                lanes=behind,
                batch=batch,
                waiting=waiting,
                remembered=remembered,
            )
        )
        await asyncio.gather(*(pool.run_within(_LOADING_SECONDS, encoder.encode, ["warm"]) for pool in pools))
        yield embedder
