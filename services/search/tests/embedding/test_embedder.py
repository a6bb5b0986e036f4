import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from plumbline_common import db
from plumbline_common.errors import Unavailable
from plumbline_search.embedding import embedder as embedder_module
from plumbline_search.embedding import encoder
from plumbline_search.embedding.embedder import Embedder, TooBusy, Urgency
from plumbline_search.embedding.encoder import Vectors
from plumbline_search.embedding.model_store import DIMENSIONS


class Gate:
    """An encoder whose batches are recorded, and wait while it is closed."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.entered = asyncio.Event()

    async def encode(self, texts: list[str]) -> Vectors:
        self.batches.append(texts)
        self.entered.set()
        await self.open.wait()
        if "poison" in texts:
            raise RuntimeError("the encoder cannot read this")
        return np.array([np.full(DIMENSIONS, len(text)) for text in texts], np.float32)


async def test_each_text_gets_its_own_vector() -> None:
    async with Embedder(Gate().encode) as embedder:
        vectors = await embedder.embed(["a", "bbb", "cc"])
    assert vectors[:, 0].tolist() == [1, 3, 2]
    assert vectors.dtype == np.float32


async def test_no_texts_are_no_rows() -> None:
    async with Embedder(Gate().encode) as embedder:
        assert (await embedder.embed([])).shape == (0, DIMENSIONS)


async def test_texts_gather_while_the_encoder_is_busy() -> None:
    gate = Gate()
    gate.open.clear()
    async with Embedder(gate.encode, batch=3) as embedder, asyncio.TaskGroup() as group:
        group.create_task(embedder.embed(["first"]))
        await gate.entered.wait()
        for number in range(4):
            group.create_task(embedder.embed([f"text {number}"]))
        await asyncio.sleep(0)
        gate.open.set()
    assert gate.batches == [["first"], ["text 0", "text 1", "text 2"], ["text 3"]]


async def test_queries_go_before_documents() -> None:
    gate = Gate()
    gate.open.clear()
    async with Embedder(gate.encode, batch=1) as embedder, asyncio.TaskGroup() as group:
        group.create_task(embedder.embed(["busy"]))
        await gate.entered.wait()
        group.create_task(embedder.embed(["document", "both"]))
        await asyncio.sleep(0)
        group.create_task(embedder.embed(["query"], urgency=Urgency.QUERY))
        group.create_task(embedder.embed(["both"], urgency=Urgency.QUERY))
        await asyncio.sleep(0)
        gate.open.set()
    assert gate.batches == [["busy"], ["query"], ["both"], ["document"]]


async def test_queries_with_an_encoder_of_their_own_wait_for_no_document() -> None:
    documents, queries = Gate(), Gate()
    documents.open.clear()
    async with Embedder(documents.encode, queries=queries.encode, batch=1) as embedder:
        waiting = asyncio.create_task(embedder.embed(["long", "longer"]))
        await documents.entered.wait()
        assert (await embedder.embed(["asked"], urgency=Urgency.QUERY))[0, 0] == 5
        # Also of a text that waits among the documents.
        assert (await embedder.embed(["longer"], urgency=Urgency.QUERY))[0, 0] == 6
        documents.open.set()
        assert (await waiting)[:, 0].tolist() == [4, 6]
    assert (documents.batches, queries.batches) == ([["long"]], [["asked"], ["longer"]])


async def test_a_text_is_embedded_once_however_it_is_spaced_or_cased() -> None:
    gate = Gate()
    async with Embedder(gate.encode) as embedder:
        await asyncio.gather(
            *(embedder.embed([text]) for text in ("Slow  Checkout", "slow checkout", " slow\ncheckout "))
        )
        await embedder.embed(["SLOW CHECKOUT"], urgency=Urgency.QUERY)
    assert gate.batches == [["slow checkout"]]


async def test_the_latest_used_vectors_are_remembered() -> None:
    gate = Gate()
    async with Embedder(gate.encode, remembered=2) as embedder:
        for text in ("a", "b", "a", "c", "a", "b"):
            await embedder.embed([text])
    assert gate.batches == [["a"], ["b"], ["c"], ["b"]]


async def test_a_failure_reaches_all_who_wait_and_is_not_remembered() -> None:
    gate = Gate()
    async with Embedder(gate.encode) as embedder:
        for _ in range(2):
            outcomes = await asyncio.gather(
                embedder.embed(["poison"]), embedder.embed(["poison"]), return_exceptions=True
            )
            assert all(isinstance(outcome, RuntimeError) for outcome in outcomes)
        assert (await embedder.embed(["fine"]))[0, 0] == 4
    assert gate.batches == [["poison"], ["poison"], ["fine"]]


async def test_who_gives_up_does_not_end_it_for_others() -> None:
    gate = Gate()
    gate.open.clear()
    async with Embedder(gate.encode) as embedder:
        impatient = asyncio.create_task(embedder.embed(["same"]))
        patient = asyncio.create_task(embedder.embed(["same"]))
        await gate.entered.wait()
        impatient.cancel()
        await asyncio.gather(impatient, return_exceptions=True)
        gate.open.set()
        assert (await patient)[0, 0] == 4


async def test_queries_beyond_the_limit_are_refused_and_documents_wait() -> None:
    gate = Gate()
    gate.open.clear()
    async with Embedder(gate.encode, batch=1, waiting=2) as embedder, asyncio.TaskGroup() as group:
        group.create_task(embedder.embed(["busy"]))
        await gate.entered.wait()
        for number in range(2):
            group.create_task(embedder.embed([f"query {number}"], urgency=Urgency.QUERY))
        await asyncio.sleep(0)
        with pytest.raises(TooBusy):
            await embedder.embed(["one too many"], urgency=Urgency.QUERY)
        group.create_task(embedder.embed(["document"]))
        await asyncio.sleep(0)
        gate.open.set()
    assert ["document"] in gate.batches


async def test_who_waits_when_it_ends_is_told() -> None:
    gate = Gate()
    gate.open.clear()
    async with Embedder(gate.encode) as embedder:
        waiting = asyncio.create_task(embedder.embed(["text"]))
        await gate.entered.wait()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_only_the_beginning_of_a_long_text_travels() -> None:
    gate = Gate()
    async with Embedder(gate.encode) as embedder:
        await embedder.embed(["word " * 1_000_000])
    assert len(gate.batches[0][0]) == embedder_module.CHARACTERS


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def in_process(model_cache: Path) -> AsyncIterator[Embedder]:
    async with embedder_module.in_processes(model_cache, processes=1, batch=32) as embedder:
        yield embedder


def long_texts(subject: str) -> list[str]:
    """One batch, a second of work."""
    return [f"{subject} {number} " + "latency " * 250 for number in range(32)]


async def test_the_process_computes_what_the_encoder_computes(in_process: Embedder, model_cache: Path) -> None:
    encoder.load(model_cache)
    texts = ["payments slow after deploy", "disk is full"]
    np.testing.assert_array_equal(await in_process.embed(texts), encoder.encode(texts))


async def test_loading_the_model_may_take_longer_than_a_text(
    model_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder_module, "_TIMEOUT_SECONDS", 0.001)
    async with embedder_module.in_processes(model_cache, processes=1) as embedder:
        with pytest.raises(embedder_module.TooSlow):
            await embedder.embed(["payments slow"])


async def test_of_several_processes_one_is_for_queries(model_cache: Path, in_process: Embedder) -> None:
    before = set(multiprocessing.active_children())
    async with embedder_module.in_processes(model_cache, processes=2, batch=32) as embedder:
        started = set(multiprocessing.active_children()) - before
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert sorted(os.getpriority(os.PRIO_PROCESS, each.pid or 0) for each in started) == [own, encoder.BEHIND]
        working = asyncio.create_task(embedder.embed(long_texts("behind")))
        await asyncio.sleep(0.1)
        asked = await embedder.embed(["payments slow"], urgency=Urgency.QUERY)
        assert not working.done()
        np.testing.assert_array_equal(asked, await in_process.embed(["payments slow"]))
        await working


async def test_the_event_loop_runs_on_while_texts_are_embedded(in_process: Embedder) -> None:
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.001)
            longest = max(longest, loop.time() - before)

    watching = asyncio.create_task(watch())
    await in_process.embed([f"{number} " + "latency of the checkout " * 50 for number in range(20)])
    watching.cancel()
    assert longest < 0.1


async def test_a_process_that_is_killed_fails_what_it_had_in_hand_and_another_goes_on(in_process: Embedder) -> None:
    (process,) = multiprocessing.active_children()
    working = asyncio.create_task(in_process.embed(long_texts("killed")))
    await asyncio.sleep(0.2)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await working
    assert (await in_process.embed(["goes on"])).shape == (1, DIMENSIONS)


async def test_work_that_takes_too_long_is_refused_and_waits_on_the_bus(
    in_process: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder_module, "_TIMEOUT_SECONDS", 0.001)
    with pytest.raises(Unavailable) as refused:
        await in_process.embed(long_texts("slow"))
    assert db.is_transient(refused.value)
