import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from plumbline_common.batching import Batcher


class Store:
    """Answers a key with its double, slowly; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.fails = False

    async def load(self, keys: Sequence[int]) -> dict[int, int]:
        self.asked.append(sorted(keys))
        await asyncio.sleep(0.01)
        if self.fails:
            raise ConnectionError("the database is away")
        return {key: key * 2 for key in keys if key < 100}


async def test_what_arrives_together_goes_together() -> None:
    store = Store()
    batcher = Batcher(store.load)
    assert await asyncio.gather(*(batcher.get(key) for key in (1, 2, 3, 2))) == [2, 4, 6, 4]
    assert store.asked == [[1, 2, 3]]


async def test_what_arrives_while_queries_run_goes_with_the_next() -> None:
    store = Store()
    batcher = Batcher(store.load, in_flight=1)
    first = asyncio.create_task(batcher.get(1))
    await asyncio.sleep(0.005)
    # Key 1 again: the running query began before this was asked, and may not answer it.
    rest = asyncio.gather(*(batcher.get(key) for key in (1, 2, 3)))
    assert await first == 2
    assert await rest == [2, 4, 6]
    assert store.asked == [[1], [1, 2, 3]]


async def test_a_key_without_a_value_is_none() -> None:
    assert await Batcher(Store().load).get(100) is None


async def test_a_failure_reaches_every_caller_and_the_next_batch_runs() -> None:
    store = Store()
    store.fails = True
    batcher = Batcher(store.load)
    outcomes = await asyncio.gather(batcher.get(1), batcher.get(2), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionError, ConnectionError]
    store.fails = False
    assert await batcher.get(1) == 2


async def test_what_may_be_the_fault_of_one_key_reaches_only_its_caller() -> None:
    asked: list[list[int]] = []

    async def load(keys: Sequence[int]) -> dict[int, int]:
        asked.append(list(keys))
        if 2 in keys:
            raise ValueError("2 is no good")
        return {key: key * 2 for key in keys}

    batcher = Batcher(load, alone=(ValueError,))
    outcomes = await asyncio.gather(*(batcher.get(key) for key in (1, 2, 3)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["2", "2 is no good", "6"]
    assert asked == [[1, 2, 3], [1], [2], [3]]


async def test_a_batch_is_bounded_and_runs_as_the_first_who_asked() -> None:
    who: ContextVar[str] = ContextVar("who")
    seen: list[tuple[list[int], str]] = []

    async def load(keys: Sequence[int]) -> dict[int, int]:
        seen.append((list(keys), who.get()))
        await asyncio.sleep(0)
        return {key: key for key in keys}

    batcher = Batcher(load, in_flight=1, most=2)

    async def ask(key: int) -> None:
        who.set(f"caller {key}")
        await batcher.get(key)

    await asyncio.gather(*(ask(key) for key in range(5)))
    assert seen == [([0, 1], "caller 0"), ([2, 3], "caller 2"), ([4], "caller 4")]


async def test_a_caller_that_gives_up_hurts_no_other() -> None:
    batcher = Batcher(Store().load)
    impatient = asyncio.create_task(batcher.get(1))
    patient = asyncio.create_task(batcher.get(1))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert await patient == 2
