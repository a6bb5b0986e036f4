from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plumbline_stack.collector.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "telemetry.sqlite", max_spans=5, max_logs=3)
    yield opened
    opened.close()


def span(trace: str, span_id: str, start: int, parent: str | None = None, **members: Any) -> dict[str, Any]:
    row = {"trace_id": trace, "span_id": span_id, "parent_id": parent, "service": "search", "name": "index"}
    return {**row, "start": start, "end": start + 10, **members}


async def test_a_trace_is_given_in_the_order_of_its_spans(store: Store) -> None:
    await store.add_spans([span("a", "2", 20, "1"), span("a", "1", 10), span("b", "3", 5)])
    assert [row["span_id"] for row in await store.trace("a")] == ["1", "2"]
    assert await store.trace("unknown") == []


async def test_a_span_that_arrives_twice_is_kept_once(store: Store) -> None:
    await store.add_spans([span("a", "1", 10)])
    await store.add_spans([span("a", "1", 10)])
    assert len(await store.trace("a")) == 1


async def test_the_oldest_spans_make_room(store: Store) -> None:
    for number in range(8):
        await store.add_spans([span("a", str(number), number)])
    assert [row["span_id"] for row in await store.trace("a")] == ["3", "4", "5", "6", "7"]


async def test_traces_are_found_by_service_and_name(store: Store) -> None:
    await store.add_spans([span("a", "1", 10, service="gateway", name="POST"), span("a", "2", 20, "1")])
    await store.add_spans([span("b", "3", 30)])
    assert await store.traces("gateway", None, 10) == [
        {"trace_id": "a", "start": 10, "end": 30, "spans": 2, "services": ["gateway", "search"], "name": "POST"}
    ]
    assert [row["trace_id"] for row in await store.traces(None, "index", 10)] == ["b", "a"]
    assert [row["trace_id"] for row in await store.traces(None, None, 1)] == ["b"]


async def test_logs_are_found_and_bounded(store: Store) -> None:
    for number in range(5):
        service = "search" if number % 2 else "gateway"
        await store.add_logs([{"time": number, "service": service, "trace_id": str(number), "body": "x"}])
    assert [row["time"] for row in await store.logs(None, None, 10)] == [2, 3, 4]
    assert [row["time"] for row in await store.logs("search", None, 10)] == [3]
    assert [row["time"] for row in await store.logs(None, "4", 10)] == [4]
