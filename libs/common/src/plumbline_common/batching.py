"""Lookups by key that arrive together become one query."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Batcher(Generic[K, V]):
    """Under load, many requests for single rows wait for the database at the same time: they share a round trip.

    A lookup that comes alone is sent at once; those that come while `in_flight` queries run go with the next one.
    Each answer is read after it was asked for, so a caller sees its own writes.
    """

    def __init__(self, load: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], in_flight: int = 2) -> None:
        self._load = load
        self._free = in_flight
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def get(self, key: K) -> V | None:
        """The value of `key`; None where there is none. What `load` raises reaches every caller of its batch."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[V | None] = loop.create_future()
        self._waiting.setdefault(key, []).append(future)
        if self._free and not self._scheduled:
            # At the end of this turn of the loop: the requests that were read in it go together.
            self._scheduled = True
            loop.call_soon(self._send)
        return await future

    def _send(self) -> None:
        self._scheduled = False
        if not self._waiting or not self._free:
            return
        batch, self._waiting = self._waiting, {}
        self._free -= 1
        task = asyncio.create_task(self._answer(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, batch: dict[K, list[asyncio.Future[V | None]]]) -> None:
        try:
            found = await self._load(list(batch))
            for key, futures in batch.items():
                for future in futures:
                    if not future.done():
                        future.set_result(found.get(key))
        except Exception as error:
            for futures in batch.values():
                for future in futures:
                    if not future.done():
                        future.set_exception(error)
        finally:
            self._free += 1
            self._send()
