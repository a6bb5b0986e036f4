"""Questions to the database that arrive together become one query."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Batcher(Generic[K, V]):
    """Under load, many requests for single rows wait for the database at the same time: they share a round trip.

    A key that comes alone is sent at once; those that come while `in_flight` queries run go with the next one, `most`
    at a time. Each answer is read after it was asked for, so a caller sees its own writes. A query runs in the
    context (trace, request id) of the first who asked. What `load` raises reaches all of its batch; what is of the
    types `alone` may be the fault of one key, and each is loaded for itself.
    """

    def __init__(
        self,
        load: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]],
        *,
        in_flight: int = 2,
        most: int = 100,
        alone: tuple[type[Exception], ...] = (),
    ) -> None:
        self._load = load
        self._most = most
        self._alone = alone
        self._free = in_flight
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._contexts: dict[K, contextvars.Context] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def get(self, key: K) -> V | None:
        """The value of `key`; None where there is none."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[V | None] = loop.create_future()
        if key not in self._waiting:
            self._waiting[key] = []
            self._contexts[key] = contextvars.copy_context()
        self._waiting[key].append(future)
        if self._free and not self._scheduled:
            # At the end of this turn of the loop: the requests that were read in it go together.
            self._scheduled = True
            loop.call_soon(self._send)
        return await future

    def _send(self) -> None:
        self._scheduled = False
        if not self._waiting or not self._free:
            return
        batch = {key: self._waiting.pop(key) for key in list(self._waiting)[: self._most]}
        contexts = [self._contexts.pop(key) for key in batch]
        self._free -= 1
        task = asyncio.create_task(self._answer(batch), context=contexts[0])
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, batch: dict[K, list[asyncio.Future[V | None]]]) -> None:
        try:
            await self._load_into(batch)
        finally:
            self._free += 1
            self._send()

    async def _load_into(self, batch: dict[K, list[asyncio.Future[V | None]]]) -> None:
        try:
            found = await self._load(list(batch))
        except Exception as error:
            if isinstance(error, self._alone) and len(batch) > 1:
                for key, futures in batch.items():
                    await self._load_into({key: futures})
                return
            for futures in batch.values():
                for future in futures:
                    if not future.done():
                        future.set_exception(error)
        else:
            for key, futures in batch.items():
                for future in futures:
                    if not future.done():
                        future.set_result(found.get(key))
