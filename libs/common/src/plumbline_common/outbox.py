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
from plumbline_common.errors import TooLarge
from plumbline_common.events import PREFIX, Event

log = logging.getLogger(__name__)

BATCH = 500
ROUND = 10 * BATCH
"""How many events the relay takes on at once at the most."""
BUSY_SECONDS = 0.2
GATHER_SECONDS = 0.05
"""A lone event leaves at once; while they come within `BUSY_SECONDS` of each other, this long they gather first."""
POLL_SECONDS = 1.0
RECONCILE_SECONDS = 10.0
LARGEST = 900_000
"""Bytes of an event's data; NATS takes 1 MiB with the headers."""
PRUNE_BATCH = 5000
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


STAGED = "outbox"
"""The channel that hears of staged events."""
NOTIFY = f"pg_notify('{STAGED}_' || current_user, '')"
# One round trip: the insert and the wake-up, which PostgreSQL delivers at commit.
_STAGE = text(
    "WITH staged AS (INSERT INTO outbox (id, subject, key, data, trace)"  # noqa: S608 - own names
    " VALUES (:id, :subject, :key, :data, :trace))"
    f" SELECT {NOTIFY}"
)


async def stage(session: AsyncSession, event: Event) -> UUID:
    """Write `event` to the log in the caller's transaction, with the current trace context. Returns its id."""
    row = row_of(event)
    await session.execute(_STAGE, row)
    return UUID(str(row["id"]))


def row_of(event: Event) -> dict[str, Any]:
    """The values of `event` in the log, for who writes it in a larger statement that also selects `NOTIFY`.

    Raises `TooLarge` for one that NATS would not take: it would hold up all events behind it.
    """
    data = event.model_dump_json()
    if len(data.encode()) > LARGEST:
        raise TooLarge(f"the event that tells of it would be larger than {LARGEST} bytes: say less in it")
    return {
        "id": db.new_id(),
        "subject": event.subject,
        "key": event.key,
        "data": data,
        "trace": json.dumps(telemetry.inject()),
    }


SEQUENCED = "outbox_sequenced"
"""The channel that hears of events that got their positions."""

_LOCK = text("SELECT sequenced, published FROM outbox_producer WHERE name = :name FOR UPDATE SKIP LOCKED")
_COLUMNS = "position, id, subject, key, data, trace, created_at"
_SEQUENCE = text(
    "WITH fresh AS (SELECT seq, row_number() OVER (ORDER BY seq) AS rank FROM"  # noqa: S608 - own names
    "  (SELECT seq FROM outbox WHERE position IS NULL ORDER BY seq LIMIT :batch) AS unsequenced),"
    " numbered AS (UPDATE outbox SET position = :sequenced + fresh.rank FROM fresh"
    f"  WHERE outbox.seq = fresh.seq RETURNING {_COLUMNS}),"
    " moved AS (UPDATE outbox_producer SET sequenced = sequenced + (SELECT count(*) FROM numbered)"
    "  WHERE name = :name)"
    f" SELECT {_COLUMNS}, (SELECT pg_notify('{SEQUENCED}_' || current_user, '')) FROM numbered ORDER BY position"
)
_READ = text(
    f"SELECT {_COLUMNS} FROM outbox"  # noqa: S608 - own names
    " WHERE position BETWEEN :first AND :last ORDER BY position LIMIT :batch"
)
_PUBLISHED = text("UPDATE outbox_producer SET published = :reached WHERE name = :name AND published = :before")
_LATE = text(
    "SELECT created_at < clock_timestamp() - make_interval(secs => :late) FROM outbox"
    " WHERE position IS NULL ORDER BY seq LIMIT 1"
)
LATE_SECONDS = 5.0


async def sequence_late(session: AsyncSession, producer: str, late: float = LATE_SECONDS) -> None:
    """Give positions to the events that wait for them for so long, as a relay that is cut off from the broker gives
    none. For who follows the log here. The relay publishes them when it can."""
    if not (await session.execute(_LATE, {"late": late})).scalar():
        return
    held = (await session.execute(_LOCK, {"name": producer})).one_or_none()
    if held is not None:
        await session.execute(_SEQUENCE, {"name": producer, "sequenced": held.sequenced, "batch": ROUND})


_LEAD = "SELECT pg_try_advisory_lock(hashtext('outbox relay of ' || current_user))"


@contextlib.asynccontextmanager
async def listening(connection: AsyncConnection, channel: str, wake: asyncio.Event) -> AsyncIterator[Any]:
    """asyncpg's own connection: it sets `wake` at a notice on the role's `channel`, and when it ends."""
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection
    channel = f"{channel}_{connection.engine.url.username}"

    def woken(*_: object) -> None:
        wake.set()

    await driver.add_listener(channel, woken)
    driver.add_termination_listener(woken)
    try:
        yield driver
    finally:
        if not driver.is_closed():
            driver.remove_termination_listener(woken)
            await driver.remove_listener(channel, woken)


def check_listening(driver: Any) -> None:
    """Raises `ConnectionError` where the connection that listens has ended."""
    if driver.is_closed():
        raise ConnectionError("the connection that hears of new events has ended")


@dataclass
class _Sent:
    """Messages on their way into the stream."""

    futures: list[asyncio.Future[PubAck]] = field(default_factory=list)
    spans: list[trace.Span] = field(default_factory=list)

    async def stored(self) -> None:
        """Wait for the stream's acknowledgement of each. Raises what any of them failed with."""
        try:
            if self.futures:
                # Not wait_for: before Python 3.12 it can swallow a cancellation.
                async with asyncio.timeout(10):
                    await asyncio.gather(*self.futures)
        finally:
            self.end()

    def end(self) -> None:
        for future in self.futures:
            future.cancel()
        for span in self.spans:
            span.end()


class Relay:
    """Publishes one producer's log in the order of its positions. Any number may run: one leads, others stand by.

    Order holds per aggregate because rows of one aggregate are written under its lock, so their `seq` follows the
    order of its changes; positions follow `seq`, and are given under the lock of the producer's row. Leading only
    saves work: two relays that publish the same positions, each in their order, make the same stream, for the
    server drops a message whose id it has seen.
    """

    def __init__(self, engine: AsyncEngine, broker: bus.Broker, producer: str) -> None:
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._broker = broker
        self._producer = producer
        self._wake = asyncio.Event()
        self._serving = False
        # Republished events carry another Nats-Msg-Id: the server may remember ids of messages that it lost.
        self._epoch = ""
        self._oldest = 1

    async def run(self) -> None:
        """Publish until cancelled; faults of the broker or the database are raised, to be run again after."""
        async with self._engine.begin() as connection:
            await connection.execute(
                text("INSERT INTO outbox_producer (name) VALUES (:name) ON CONFLICT DO NOTHING"),
                {"name": self._producer},
            )
        await self._broker.connected()
        if not self._serving:
            self._serving = True
            self._broker.on_connected(self._wake.set)
            await self._broker.serve(f"{PREFIX}.replay.{self._producer}", self._replay)
        async with self._listening() as driver:
            while not await driver.fetchval(_LEAD):
                check_listening(driver)
                await asyncio.sleep(POLL_SECONDS)
            try:
                await self._lead(driver)
            finally:
                # What it said last would be said for as long as the process lives, though another leads.
                self._tell(0, 0.0)

    async def _lead(self, driver: Any) -> None:
        loop = asyncio.get_running_loop()
        reconcile_at, seen, worked_at = 0.0, -1, 0.0
        while True:
            check_listening(driver)
            if loop.time() >= reconcile_at or seen != self._broker.connections:
                seen = self._broker.connections
                await self.reconcile()
                await self._prune_quietly()
                reconcile_at = loop.time() + RECONCILE_SECONDS
            if await self.publish_next() >= ROUND:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
                if loop.time() - worked_at < BUSY_SECONDS:
                    await asyncio.sleep(GATHER_SECONDS)
                worked_at = loop.time()
            # Cleared before the log is read: what is staged from now on wakes again.
            self._wake.clear()

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[Any]:
        """asyncpg's own connection, which hears of staged events and holds the lead."""
        async with self._engine.connect() as connection, listening(connection, STAGED, self._wake) as driver:
            try:
                yield driver
            finally:
                if not driver.is_closed():
                    await driver.execute("SELECT pg_advisory_unlock_all()")

    async def _locked(self, connection: AsyncConnection) -> tuple[int, int] | None:
        row = (await connection.execute(_LOCK, {"name": self._producer})).one_or_none()
        return None if row is None else (row.sequenced, row.published)

    async def publish_next(self) -> int:
        """Sequence and publish up to `ROUND` events. Returns how many; 0 also when another relay sequences."""
        # Positions are committed before they are published: a crash in between republishes the same ones.
        async with self._engine.begin() as connection:
            if (held := await self._locked(connection)) is None:
                return 0
            sequenced, published = held
            if sequenced == published:
                rows = (
                    await connection.execute(
                        _SEQUENCE, {"name": self._producer, "sequenced": sequenced, "batch": ROUND}
                    )
                ).all()
            else:
                rows = await self._rows(connection, published + 1, sequenced, ROUND)
            # Positions below the oldest row that is kept are gone for good: go on with what there is.
            reached = rows[-1].position if rows else sequenced
        unacknowledged = _Sent()
        for first in range(0, len(rows), BATCH):
            # The next batch is sent while the stream stores the one before it.
            sent = await self._send(rows[first : first + BATCH], epoch=self._epoch, published=None)
            await unacknowledged.stored()
            unacknowledged = sent
        await unacknowledged.stored()
        if reached != published:
            async with self._autocommit.connect() as connection:
                await connection.execute(
                    _PUBLISHED, {"name": self._producer, "reached": reached, "before": published}
                )
        return len(rows)

    async def _rows(self, connection: AsyncConnection, first: int, last: int, most: int) -> Sequence[Any]:
        return (await connection.execute(_READ, {"first": first, "last": last, "batch": most})).all()

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
                headers[bus.OLDEST] = str(self._oldest)
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
            if there is not None and there < held[1]:
                log.warning(
                    "the stream lacks events of the log: publishing them again",
                    extra={"producer": self._producer, "stream": there, "log": held[1]},
                )
                self._epoch = f"/{secrets.token_hex(4)}"
                await connection.execute(
                    text("UPDATE outbox_producer SET published = :there WHERE name = :name"),
                    {"there": there, "name": self._producer},
                )

    async def _last_in_stream(self) -> int | None:
        """How far the stream says that the log was published; None where all that it held has passed its time."""
        stream = bus.stream_of(self._producer)
        try:
            last = await self._broker.js.get_last_msg(stream, f"{PREFIX}.{self._producer}.>")
        except NotFoundError:
            # A stream that was made anew has never numbered a message.
            return None if (await self._broker.js.stream_info(stream)).state.last_seq else 0
        return int((last.headers or {}).get(bus.PUBLISHED, "0"))

    async def _replay(self, request: Msg) -> None:
        """A consumer misses positions: publish those again. Its inbox makes a double harmless."""
        wanted = json.loads(request.data)
        first, last = int(wanted["first"]), int(wanted["last"])
        while first <= last:
            async with self._engine.connect() as connection:
                rows = await self._rows(connection, first, last, BATCH)
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

    async def _prune_quietly(self) -> None:
        try:
            await self._prune()
        except Exception as error:  # publishing matters more
            log.warning("the log of %s could not be pruned: %r", self._producer, error)

    async def _prune(self) -> None:
        async with self._engine.begin() as connection:
            # Only the oldest rows are looked at: the log may be long.
            await connection.execute(
                text(
                    "DELETE FROM outbox WHERE seq IN (SELECT seq FROM"
                    " (SELECT seq, position, created_at FROM outbox ORDER BY seq LIMIT :batch) AS oldest"
                    " WHERE created_at < now() - make_interval(days => :days) AND position <="
                    "  (SELECT published FROM outbox_producer WHERE name = :name))"
                ),
                {"days": KEEP_DAYS, "name": self._producer, "batch": PRUNE_BATCH},
            )
            row = (
                await connection.execute(
                    text(
                        "SELECT sum(waiting), coalesce(extract(epoch FROM now() - min(oldest)), 0),"
                        " (SELECT min(position) FROM outbox) FROM ("
                        " SELECT count(*) AS waiting, min(created_at) AS oldest FROM outbox WHERE position IS NULL"
                        " UNION ALL SELECT count(*), min(created_at) FROM outbox WHERE position >"
                        "  (SELECT published FROM outbox_producer WHERE name = :name)) AS backlog"
                    ),
                    {"name": self._producer},
                )
            ).one()
        self._oldest = row[2] or 1
        self._tell(int(row[0]), float(row[1]))

    def _tell(self, waiting: int, age: float) -> None:
        telemetry.outbox_backlog.set(waiting, {"plumbline.producer": self._producer})
        telemetry.outbox_age.set(age, {"plumbline.producer": self._producer})
