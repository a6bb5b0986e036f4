"""Spans and logs in SQLite, bounded: the oldest make room for the newest."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spans (
    id INTEGER PRIMARY KEY, trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_id TEXT, service TEXT NOT NULL,
    name TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, row TEXT NOT NULL,
    UNIQUE (trace_id, span_id)
);
CREATE INDEX IF NOT EXISTS spans_by_start ON spans (start);
CREATE TABLE IF NOT EXISTS logs (
    id INTEGER PRIMARY KEY, time INTEGER NOT NULL, service TEXT NOT NULL, trace_id TEXT, row TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS logs_by_trace ON logs (trace_id);
"""
_LATEST = 2**63 - 1
_TRACES = """
SELECT trace_id, min(start) AS start, max(end) AS end, count(*) AS spans,
       json_group_array(DISTINCT service) AS services,
       coalesce((SELECT name FROM spans root WHERE root.trace_id = s.trace_id AND parent_id IS NULL
                 ORDER BY start LIMIT 1), min(name)) AS name
FROM spans s WHERE trace_id IN (
    SELECT trace_id FROM spans WHERE (?1 IS NULL OR service = ?1) AND (?2 IS NULL OR name = ?2)
    GROUP BY trace_id ORDER BY max(start) DESC LIMIT ?3
) GROUP BY trace_id ORDER BY start DESC
"""


class Store:
    """One file, one connection, one thread at a time: its calls leave the event loop free."""

    def __init__(self, path: Path, *, max_spans: int = 100_000, max_logs: int = 50_000) -> None:
        self._limits = {"spans": max_spans, "logs": max_logs}
        self._lock = asyncio.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")  # what a crash loses here nobody needs
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        self._connection.close()

    async def add_spans(self, rows: Sequence[dict[str, Any]]) -> None:
        """A span that arrives twice, as after a retry of its exporter, is kept once."""
        columns = ("trace_id", "span_id", "parent_id", "service", "name", "start", "end")
        await self._write("spans", columns, rows)

    async def add_logs(self, rows: Sequence[dict[str, Any]]) -> None:
        await self._write("logs", ("time", "service", "trace_id"), rows)

    async def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of a trace in the order of their start; empty where none is known."""
        return await self._rows("SELECT row FROM spans WHERE trace_id = ? ORDER BY start, id", (trace_id,))

    async def logs(self, service: str | None, trace_id: str | None, limit: int) -> list[dict[str, Any]]:
        """The newest records, oldest first."""
        query = (
            "SELECT row FROM (SELECT * FROM logs WHERE (?1 IS NULL OR service = ?1)"
            " AND (?2 IS NULL OR trace_id = ?2) ORDER BY id DESC LIMIT ?3) ORDER BY id"
        )
        return await self._rows(query, (service, trace_id, limit))

    async def traces(self, service: str | None, name: str | None, limit: int) -> list[dict[str, Any]]:
        """The newest traces that have a span of this service and name, newest first, without their spans."""
        found = await self._run(lambda db: db.execute(_TRACES, (service, name, limit)).fetchall())
        return [{**dict(row), "services": sorted(json.loads(row["services"]))} for row in found]

    async def _rows(self, query: str, parameters: tuple[Any, ...]) -> list[dict[str, Any]]:
        found = await self._run(lambda db: db.execute(query, parameters).fetchall())
        return [json.loads(row["row"]) for row in found]

    async def _write(self, table: str, columns: tuple[str, ...], rows: Sequence[dict[str, Any]]) -> None:
        names = ", ".join((*columns, "row"))
        marks = ", ".join("?" * (len(columns) + 1))
        values = [(*(_fitting(row[column]) for column in columns), json.dumps(row)) for row in rows]

        def write(db: sqlite3.Connection) -> None:
            with db:
                db.executemany(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", values)  # noqa: S608
                newest = db.execute(f"SELECT max(id) FROM {table}").fetchone()[0] or 0  # noqa: S608
                db.execute(f"DELETE FROM {table} WHERE id <= ?", (newest - self._limits[table],))  # noqa: S608

        await self._run(write)

    async def _run(self, work: Any) -> Any:
        async with self._lock:
            return await asyncio.to_thread(work, self._connection)


def _fitting(value: str | int | None) -> str | int | None:
    """SQLite's integers have 63 bits and a sign, OTLP's times 64 bits."""
    return min(value, _LATEST) if isinstance(value, int) else value
