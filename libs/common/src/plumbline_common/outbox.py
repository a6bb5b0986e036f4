"""The transactional outbox: an event is staged in the caller's transaction and published by the relay.

The log in PostgreSQL is the truth and JetStream a copy of it. Each producer's events carry a gapless position;
the relay that (re)connects compares the stream's last position with the log's and publishes what is missing.
"""

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from nats.aio.msg import Msg
from nats.js.api import PubAck
from nats.js.errors import NotFoundError
from opentelemetry import trace
from sqlalchemy import BigInteger, Column, Identity, MetaData, Table, Text, Uuid, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from plumbline_common import bus, db, telemetry
from plumbline_common.events import PREFIX, Event

log = logging.getLogger(__name__)

BATCH = 500
ROUND = 10 * BATCH
"""How many events one transaction of the relay takes on at the most."""
POLL_SECONDS = 1.0
RECONCILE_SECONDS = 10.0
KEEP_DAYS = 30
"""How long the log reaches back for a replay."""


def add_tables(metadata: MetaData) -> None:
    """Declare `outbox` (the log) and `outbox_producer` (how far it is sequenced and published)."""
    Table(
        "outbox",
        metadata,
        Column("seq", BigInteger, Identity(always=True), primary_key=True),
        Column("id", Uuid, nullable=False),
        Column("position", BigInteger, unique=True),
        Column("subject", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("data", Text, nullable=False),
        Column("trace", Text, nullable=False, server_default="{}"),
        Column("created_at", db.timestamp(), nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Index("ix_outbox_unsequenced", "seq", postgresql_where=text("position IS NULL")),
    )
    Table(
        "outbox_producer",
        metadata,
        Column("name", Text, primary_key=True),
        Column("sequenced", BigInteger, nullable=False, server_default="0"),
        Column("published", BigInteger, nullable=False, server_default="0"),
    )


# One round trip: the insert and the wake-up, which PostgreSQL delivers at commit.
_STAGE = text(
    "WITH staged AS (INSERT INTO outbox (id, subject, key, data, trace)"
    " VALUES (:id, :subject, :key, :data, :trace))"
    " SELECT pg_notify('outbox_' || current_user, '')"
)


async def stage(session: AsyncSession, event: Event) -> UUID:
    """Write `event` to the log in the caller's transaction, with the current trace context. Returns its id."""
    id = db.new_id()
    await session.execute(
        _STAGE,
        {
            "id": id,
            "subject": event.subject,
            "key": event.key,
            "data": event.model_dump_json(),
            "trace": json.dumps(telemetry.inject()),
        },
    )
    return id


_LOCK = text("SELECT sequenced, published FROM outbox_producer WHERE name = :name FOR UPDATE SKIP LOCKED")
_SEQUENCE = text(
    "WITH fresh AS (SELECT seq, row_number() OVER (ORDER BY seq) AS rank FROM"
    "  (SELECT seq FROM outbox WHERE position IS NULL ORDER BY seq LIMIT :batch) AS unsequenced),"
    " numbered AS (UPDATE outbox SET position = :sequenced + fresh.rank FROM fresh"
    "  WHERE outbox.seq = fresh.seq RETURNING 1)"
    " UPDATE outbox_producer SET sequenced = sequenced + (SELECT count(*) FROM numbered) WHERE name = :name"
    " RETURNING sequenced"
)
_READ = text(
    "SELECT position, id, subject, key, data, trace, created_at FROM outbox"
    " WHERE position BETWEEN :first AND :last ORDER BY position LIMIT :batch"
)


@dataclass
class _Sent:
    """Messages on their way into the stream."""

    futures: list[asyncio.Future[PubAck]] = field(default_factory=list)
    spans: list[trace.Span] = field(default_factory=list)

    async def stored(self) -> None:
        """Wait for the stream's acknowledgement of each. Raises what any of them failed with."""
        try:
            if self.futures:
                await asyncio.wait_for(asyncio.gather(*self.futures), 10)
        finally:
            self.end()

    def end(self) -> None:
        for future in self.futures:
            future.cancel()
        for span in self.spans:
            span.end()


class Relay:
    """Publishes one producer's log in the order of its positions. Any number may run: one works, others stand by.

    Order holds per aggregate because rows of one aggregate are written under its lock, so their `seq` follows
    the order of its changes, and because one relay at a time (SKIP LOCKED on the producer's row) publishes.
    """

    def __init__(self, engine: AsyncEngine, broker: bus.Broker, producer: str) -> None:
        self._engine = engine
        self._broker = broker
        self._producer = producer
        self._wake = asyncio.Event()
        # Republished events carry another Nats-Msg-Id: the server may remember ids of messages that it lost.
        self._epoch = ""

    async def run(self) -> None:
        """Publish until cancelled; faults of the broker or the database are waited out."""
        async with self._engine.begin() as connection:
            await connection.execute(
                text("INSERT INTO outbox_producer (name) VALUES (:name) ON CONFLICT DO NOTHING"),
                {"name": self._producer},
            )
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._listening())
            self._broker.on_connected(self._wake.set)
            await self._broker.serve(f"{PREFIX}.replay.{self._producer}", self._replay)
            loop = asyncio.get_running_loop()
            reconcile_at, seen = 0.0, -1
            while True:
                await self._broker.connected()
                if loop.time() >= reconcile_at or seen != self._broker.connections:
                    seen = self._broker.connections
                    await self.reconcile()
                    await self._prune()
                    reconcile_at = loop.time() + RECONCILE_SECONDS
                if await self.publish_next() == 0:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
                    self._wake.clear()

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        async with self._engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            channel = f"outbox_{self._engine.url.username}"
            wake = self._wake

            def notified(*_: object) -> None:
                wake.set()

            await driver.add_listener(channel, notified)
            try:
                yield
            finally:
                if not driver.is_closed():
                    await driver.remove_listener(channel, notified)

    async def _locked(self, connection: AsyncConnection) -> tuple[int, int] | None:
        row = (await connection.execute(_LOCK, {"name": self._producer})).one_or_none()
        return None if row is None else (row.sequenced, row.published)

    async def publish_next(self) -> int:
        """Sequence and publish up to `ROUND` events. Returns how many; 0 also when another relay is at work."""
        # Positions are committed before they are published: a crash in between republishes the same ones.
        async with self._engine.begin() as connection:
            if (held := await self._locked(connection)) is None:
                return 0
            if held[0] == held[1]:
                await connection.execute(_SEQUENCE, {"name": self._producer, "sequenced": held[0], "batch": ROUND})
        async with self._engine.begin() as connection:
            if (held := await self._locked(connection)) is None or held[0] == held[1]:
                return 0
            sequenced, published = held
            done, reached = 0, published
            unacknowledged = _Sent()
            while done < ROUND:
                # The next batch is read and sent while the stream stores the one before it.
                rows = await self._rows(connection, reached + 1, sequenced)
                sent = await self._send(rows, epoch=self._epoch, published=None)
                await unacknowledged.stored()
                unacknowledged = sent
                if not rows:
                    # Positions below the oldest row that is kept are gone for good: go on with what there is.
                    reached = sequenced
                    break
                done, reached = done + len(rows), rows[-1].position
            await unacknowledged.stored()
            await connection.execute(
                text("UPDATE outbox_producer SET published = :reached WHERE name = :name"),
                {"reached": reached, "name": self._producer},
            )
        return done

    async def _rows(self, connection: AsyncConnection, first: int, last: int) -> Sequence[Any]:
        if first > last:
            return []
        return (await connection.execute(_READ, {"first": first, "last": last, "batch": BATCH})).all()

    async def _send(self, rows: Sequence[Any], *, epoch: str, published: int | None) -> "_Sent":
        sent = _Sent()
        try:
            for row in rows:
                carried = json.loads(row.trace)
                span = telemetry.tracer.start_span(
                    f"publish {row.subject}",
                    context=telemetry.extract(carried),
                    kind=trace.SpanKind.PRODUCER,
                    attributes={
                        "messaging.system": "nats",
                        "messaging.operation.name": "publish",
                        "messaging.operation.type": "send",
                        "messaging.destination.name": f"{PREFIX}.{row.subject}",
                        "messaging.message.id": str(row.id),
                        "plumbline.event.position": row.position,
                    },
                )
                sent.spans.append(span)
                headers = bus.headers_of(
                    row, self._producer, telemetry.inject(trace.set_span_in_context(span)), carried
                )
                headers[bus.MESSAGE_ID] = f"{row.id}{epoch}"
                headers[bus.PUBLISHED] = str(published or row.position)
                sent.futures.append(
                    await self._broker.publish_soon(f"{PREFIX}.{row.subject}", row.data.encode(), headers)
                )
        except BaseException:
            sent.end()
            raise
        return sent

    async def reconcile(self) -> None:
        """Where the stream lacks the end of the log (it was lost, wiped or restored), publish that end again."""
        await self._broker.ensure_streams([self._producer])
        async with self._engine.begin() as connection:
            if (held := await self._locked(connection)) is None:
                return
            there = await self._last_in_stream()
            if there < held[1]:
                log.warning(
                    "the stream lacks events of the log: publishing them again",
                    extra={"producer": self._producer, "stream": there, "log": held[1]},
                )
                self._epoch = f"/{secrets.token_hex(4)}"
                await connection.execute(
                    text("UPDATE outbox_producer SET published = :there WHERE name = :name"),
                    {"there": there, "name": self._producer},
                )

    async def _last_in_stream(self) -> int:
        try:
            last = await self._broker.js.get_last_msg(bus.stream_of(self._producer), f"{PREFIX}.{self._producer}.>")
        except NotFoundError:
            return 0
        return int((last.headers or {}).get(bus.PUBLISHED, "0"))

    async def _replay(self, request: Msg) -> None:
        """A consumer misses positions: publish those again. Its inbox makes a double harmless."""
        wanted = json.loads(request.data)
        first, last = int(wanted["first"]), int(wanted["last"])
        while first <= last:
            async with self._engine.connect() as connection:
                rows = await self._rows(connection, first, last)
                held = (
                    await connection.execute(
                        text("SELECT published FROM outbox_producer WHERE name = :name"),
                        {"name": self._producer},
                    )
                ).scalar_one()
            if not rows:
                return
            sent = await self._send(rows, epoch=f"/{secrets.token_hex(4)}", published=held)
            await sent.stored()
            first = rows[-1].position + 1

    async def _prune(self) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(
                text(
                    "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE position <="
                    " (SELECT published FROM outbox_producer WHERE name = :name)"
                    " AND created_at < now() - make_interval(days => :days) ORDER BY seq LIMIT 10000)"
                ),
                {"days": KEEP_DAYS, "name": self._producer},
            )
            row = (
                await connection.execute(
                    text(
                        "SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0) FROM outbox"
                        " WHERE position IS NULL OR position > (SELECT published FROM outbox_producer"
                        "  WHERE name = :name)"
                    ),
                    {"name": self._producer},
                )
            ).one()
        telemetry.outbox_backlog.set(row[0], {"plumbline.producer": self._producer})
        telemetry.outbox_age.set(float(row[1]), {"plumbline.producer": self._producer})
