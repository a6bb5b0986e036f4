"""NATS JetStream: streams declared in one place, durable pull consumers, retries, the dead-letter queue."""

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, PubAck, StorageType, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from pydantic import ValidationError

from plumbline_common import db, inbox, telemetry
from plumbline_common.events import PREFIX, Event, Received, registry

log = logging.getLogger(__name__)

MESSAGE_ID = "Nats-Msg-Id"
PUBLISHED = "plumbline-published"
"""How far the producer's log had been published: what a relay reads from the stream's last message."""

ACK_WAIT = 30.0
RETRY_SECONDS = (0.5, 2.0, 10.0, 30.0)
"""Waits before the second try and those after it; when the last try fails the event is dead."""
GAP_GRACE = 5.0
GAP_CHECK_SECONDS = 2.0
GAP_PATIENCE_SECONDS = 60.0
"""A gap is asked for when nothing is on its way any more; after this long also while something is."""
OLDEST = "plumbline-oldest"
"""The first position that the producer's log still has."""
FETCH_SECONDS = 10.0
DRAIN_SECONDS = 10.0

Handler = Callable[[Received[Any]], Awaitable[None]]


def stream_of(producer: str) -> str:
    """The one stream that holds all events of a producer."""
    return producer.upper()


def stream_config(producer: str, replicas: int) -> StreamConfig:
    """Every stream is declared here: one for each producer and one for dead letters (`dlq`)."""
    days = 30 if producer == "dlq" else 7
    return StreamConfig(
        name=stream_of(producer),
        subjects=[f"{PREFIX}.{producer}.>"],
        storage=StorageType.FILE,
        max_age=days * 86_400,
        duplicate_window=120,
        num_replicas=replicas,
    )


def headers_of(row: Any, producer: str, hop: Mapping[str, str], origin: Mapping[str, str]) -> dict[str, str]:
    """CloudEvents 1.0 in binary mode. `sequence` is CloudEvents' own extension, here the producer's position."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": str(row.id),
        "ce-source": f"/{PREFIX}/{producer}",
        "ce-type": f"{PREFIX}.{row.subject}",
        "ce-subject": row.key,
        "ce-time": row.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "ce-sequence": str(row.position),
        "content-type": "application/json",
    }
    headers |= hop
    headers |= {f"ce-{name}": value for name, value in origin.items() if name in ("traceparent", "tracestate")}
    return headers


def _position(headers: Mapping[str, str]) -> int:
    position = int(headers["ce-sequence"])
    if not 1 <= position < 2**63:
        raise ValueError(f"{position} is no position")
    return position


def _time(headers: Mapping[str, str]) -> datetime:
    time = datetime.fromisoformat(headers["ce-time"])
    if time.tzinfo is None:
        raise ValueError("ce-time has no zone")
    return time


def _placed(headers: Mapping[str, str], producer: str) -> Received[Any] | None:
    """An event that cannot be read, with the place in its producer's log where that can. Else None."""
    try:
        position = _position(headers)
    except (KeyError, ValueError):
        return None
    try:
        id = UUID(headers["ce-id"])
    except (KeyError, ValueError):
        id = UUID(int=0)
    return Received(id=id, producer=producer, position=position, time=datetime.now(UTC), data=Event())


@dataclass(frozen=True)
class Subscription:
    """What one durable consumer does with the events that it handles; all others of a producer it only notes."""

    consumer: str
    handlers: Mapping[type[Event], Handler]
    concurrency: int = 8

    @property
    def producers(self) -> list[str]:
        return sorted({kind.subject.partition(".")[0] for kind in self.handlers})


class Broker:
    """The connection of one process. It connects in the background and for ever: NATS may be down at any time."""

    def __init__(self, url: str, name: str, replicas: int = 1, tls: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._tls = tls
        self._name = name
        # An inbox that no other user may listen to.
        self._inbox = f"_INBOX_{urlsplit(url).username or 'anyone'}"
        self._replicas = replicas
        self._ready = asyncio.Event()
        self._closed = asyncio.Event()
        self._closing = False
        self._callbacks: list[Callable[[], None]] = []
        self._served: dict[str, Callable[[Msg], Awaitable[None]]] = {}
        self.connections = 0
        """How often the connection was made: a change means that the server may have lost something."""
        self.nc: Client = Client()
        self.js: JetStreamContext

    @property
    def is_connected(self) -> bool:
        return self._ready.is_set() and self.nc.is_connected

    async def stay_connected(self) -> None:
        """Connect, and connect anew where the client has given up for good, as it does after a fatal error."""
        while not self._closing:
            await self.connect()
            await self._closed.wait()

    async def connect(self) -> None:
        self._closed.clear()

        async def closed() -> None:
            self._ready.clear()
            self._closed.set()
            if not self._closing:
                log.error("nats: the client closed its connection; it connects anew")

        async def connected() -> None:
            self.connections += 1
            for callback in self._callbacks:
                callback()

        async def failed(error: Exception) -> None:
            log.warning("nats: %s", error or type(error).__name__)

        while not self._ready.is_set():
            try:
                self.nc = await nats.connect(
                    self._url,
                    name=self._name,
                    inbox_prefix=self._inbox,
                    tls=self._tls,
                    # Else a server that does not ask for TLS would be told the password without it.
                    tls_handshake_first=self._tls is not None,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.5,
                    connect_timeout=2,
                    ping_interval=10,
                    max_outstanding_pings=2,
                    reconnected_cb=connected,
                    closed_cb=closed,
                    error_cb=failed,
                )
            except (OSError, nats.errors.Error) as error:
                log.warning("nats is not there yet: %s", error or type(error).__name__)
                await asyncio.sleep(0.5)
                continue
            self.js = self.nc.jetstream(timeout=5, publish_async_max_pending=4096)
            for subject, answer in self._served.items():
                await self.nc.subscribe(subject, queue="plumbline", cb=answer)
            await connected()
            self._ready.set()

    async def connected(self) -> None:
        """Wait for the first connection."""
        await self._ready.wait()

    def on_connected(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def serve(self, subject: str, answer: Callable[[Msg], Awaitable[None]]) -> None:
        """Give each core-NATS message on `subject` to one of the processes that serve it."""
        await self.connected()
        self._served[subject] = answer
        await self.nc.subscribe(subject, queue="plumbline", cb=answer)

    async def publish_soon(self, subject: str, data: bytes, headers: dict[str, str]) -> asyncio.Future[PubAck]:
        """Send in the order of the calls; the future is the stream's acknowledgement."""
        return await self.js.publish_async(subject, data, headers=headers)

    async def ensure_streams(self, producers: Iterable[str]) -> None:
        for producer in producers:
            config = stream_config(producer, self._replicas)
            try:
                await self.js.stream_info(stream_of(producer))
            except NotFoundError:
                with contextlib.suppress(BadRequestError):  # another process made it first
                    await self.js.add_stream(config)

    async def close(self) -> None:
        self._closing = True
        if not self.nc.is_closed:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self.nc.drain(), DRAIN_SECONDS)


class Calls:
    """Calls processes to work: each event of one kind wakes one of those that share `consumer`, a durable of its own.

    What there is to do stands elsewhere: a call that is lost, or comes twice, or to none, costs time alone. What the
    consumer was not given yet (`num_pending`) is the length of the queue.
    """

    def __init__(self, broker: Broker, consumer: str, kind: type[Event]) -> None:
        self._broker = broker
        self._consumer = consumer
        self._subject = kind.subject
        self._subscription: JetStreamContext.PullSubscription | None = None

    async def heard(self, seconds: float) -> None:
        """Wait for a call, at most so long; without NATS just so long."""
        until = asyncio.get_running_loop().time() + seconds
        try:
            if not self._broker.is_connected:
                raise ConnectionError("nats is not there")
            self._subscription = self._subscription or await self._bound()
            [message] = await self._subscription.fetch(1, timeout=seconds)
            await message.ack()
        except (NatsTimeout, TimeoutError):
            return
        except Exception as error:
            log.debug("%s hears no calls: %r", self._consumer, error)
            self._subscription = None
            await asyncio.sleep(max(0.0, until - asyncio.get_running_loop().time()))

    async def _bound(self) -> JetStreamContext.PullSubscription:
        stream = stream_of(self._subject.partition(".")[0])
        config = ConsumerConfig(
            durable_name=self._consumer,
            filter_subject=f"{PREFIX}.{self._subject}",
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT,
            deliver_policy=DeliverPolicy.NEW,
        )
        try:
            await self._broker.js.consumer_info(stream, self._consumer)
        except NotFoundError:
            with contextlib.suppress(BadRequestError):  # another process made it first
                await self._broker.js.add_consumer(stream, config)
        return await self._broker.js.pull_subscribe_bind(durable=self._consumer, stream=stream)


@dataclass(frozen=True)
class Standing:
    """How far a consumer is with a producer. Up to `reached` nothing is missing but what is `dead`."""

    producer: str
    reached: int
    in_flight: int
    missing: int
    dead: int


@dataclass
class Consumer:
    """Runs one subscription: `concurrency` workers for each producer, one event at a time each."""

    broker: Broker
    sessions: db.Sessions
    subscription: Subscription
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _busy: set[asyncio.Task[None]] = field(default_factory=set)
    _asked: dict[str, tuple[inbox.Gap, float, float]] = field(default_factory=dict)
    _gap_since: dict[str, float] = field(default_factory=dict)
    _oldest: dict[str, int] = field(default_factory=dict)
    _failures: dict[UUID, int] = field(default_factory=dict)
    """By event. In memory: a restart gives an event its tries again."""

    async def run(self) -> None:
        """Consume until `stop`; what is in hand then is finished first."""
        await self.broker.connected()
        stopping = asyncio.create_task(self._stopping.wait())
        tasks = {
            asyncio.create_task(self._worker(producer))
            for producer in self.subscription.producers
            for _ in range(self.subscription.concurrency)
        }
        tasks.add(asyncio.create_task(self._watch()))
        try:
            await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            # Again and again: the client library may swallow a cancellation (asyncio.wait_for before Python 3.12).
            while pending := {task for task in tasks if not task.done()}:
                for task in pending - self._busy:
                    task.cancel()
                await asyncio.wait(pending, timeout=0.5)
        finally:
            stopping.cancel()
            for task in tasks:
                task.cancel()

    def stop(self) -> None:
        self._stopping.set()

    async def _bind(self, producer: str) -> JetStreamContext.PullSubscription:
        consumer, stream = self.subscription.consumer, stream_of(producer)
        await self.broker.ensure_streams(["dlq"])  # the producer's own is made by its relay
        config = ConsumerConfig(
            durable_name=consumer,
            filter_subject=f"{PREFIX}.{producer}.>",
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT,
            deliver_policy=DeliverPolicy.ALL,
            max_deliver=-1,
            max_ack_pending=1024,
        )
        try:
            await self.broker.js.consumer_info(stream, consumer)
        except NotFoundError:
            with contextlib.suppress(BadRequestError):
                await self.broker.js.add_consumer(stream, config)
        return await self.broker.js.pull_subscribe_bind(durable=consumer, stream=stream)

    async def _worker(self, producer: str) -> None:
        wait = 0.2
        while not self._stopping.is_set():
            try:
                await self._work(producer)
                wait = 0.2
            except ConnectionClosedError:
                return
            except Exception as error:
                # The stream or the consumer is gone, or the server is: make them anew and go on. A stream that is
                # not there yet will be: `_watch` reports it once, not each worker.
                level = logging.DEBUG if isinstance(error, NotFoundError) else logging.WARNING
                log.log(level, "consumer %s of %s starts again: %r", self.subscription.consumer, producer, error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 2)

    async def _work(self, producer: str) -> None:
        me = asyncio.current_task()
        assert me is not None
        subscription = await self._bind(producer)
        try:
            while not self._stopping.is_set():
                try:
                    [message] = await subscription.fetch(1, timeout=FETCH_SECONDS)
                except (NatsTimeout, TimeoutError):
                    continue
                self._busy.add(me)
                try:
                    await self._handle(producer, message)
                finally:
                    self._busy.discard(me)
        finally:
            with contextlib.suppress(Exception):
                await subscription.unsubscribe()

    async def _handle(self, producer: str, message: Msg) -> None:
        headers = message.headers or {}
        kind = registry().get(message.subject.removeprefix(f"{PREFIX}."))
        handler = self.subscription.handlers.get(kind) if kind else None
        with contextlib.suppress(ValueError):
            self._oldest[producer] = max(self._oldest.get(producer, 1), int(headers.get(OLDEST, "1")))
        try:
            received: Received[Any] = Received(
                id=UUID(headers["ce-id"]),
                producer=producer,
                position=_position(headers),
                time=_time(headers),
                data=kind.model_validate_json(message.data, extra="ignore") if kind and handler else Event(),
            )
        except (KeyError, ValueError, ValidationError) as error:
            unreadable = _placed(headers, producer)
            try:
                await self._bury(message, f"not a readable event: {error}", unreadable)
            except Exception as fault:
                await self._failed(message, unreadable, fault)
            return
        if handler is None:
            try:
                async with self.sessions.begin() as session:
                    await inbox.first_time(session, received, self.subscription.consumer, "ignored")
            except Exception as error:
                await self._failed(message, received, error)
                return
            await message.ack()
            return
        telemetry.event_age.record(
            max(0.0, (datetime.now(UTC) - received.time).total_seconds()),
            {"messaging.consumer.group.name": self.subscription.consumer, "plumbline.producer": producer},
        )
        with telemetry.tracer.start_as_current_span(
            f"process {message.subject.removeprefix(f'{PREFIX}.')}",
            context=telemetry.extract(headers),
            kind=trace.SpanKind.CONSUMER,
            attributes={
                "messaging.system": "nats",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": message.subject,
                "messaging.consumer.group.name": self.subscription.consumer,
                "messaging.message.id": str(received.id),
            },
        ) as span:
            telemetry.remember_span()
            try:
                async with self._kept_alive(message):
                    await handler(received)
            except Exception as error:
                span.record_exception(error)
                span.set_status(StatusCode.ERROR, type(error).__name__)
                await self._failed(message, received, error)
                return
        self._failures.pop(received.id, None)
        await message.ack()

    @contextlib.asynccontextmanager
    async def _kept_alive(self, message: Msg) -> Any:
        async def beat() -> None:
            while True:
                await asyncio.sleep(ACK_WAIT / 3)
                await message.in_progress()

        task = asyncio.create_task(beat())
        try:
            yield
        finally:
            task.cancel()

    async def _failed(self, message: Msg, received: Received[Any] | None, error: Exception) -> None:
        # A fault of the surroundings is nobody's poison: such an event waits as long as it takes.
        if received is None or db.is_transient(error):
            delivered = message.metadata.num_delivered
            log.warning("event %s waits: %r", received and received.id, error)
            await message.nak(delay=min(0.5 * 2 ** min(delivered, 6), 30))
            return
        if len(self._failures) > 10_000:
            self._failures.clear()
        tries = self._failures[received.id] = self._failures.get(received.id, 0) + 1
        if tries <= len(RETRY_SECONDS):
            log.warning("event %s failed, try %d: %r", received.id, tries, error)
            await message.nak(delay=RETRY_SECONDS[tries - 1])
        else:
            log.error("event %s is dead after %d tries", received.id, tries, exc_info=error)
            await self._bury(message, f"{type(error).__name__}: {error}", received, tries)

    async def _bury(
        self, message: Msg, reason: str, received: Received[Any] | None, tries: int | None = None
    ) -> None:
        consumer = self.subscription.consumer
        headers = {name: value for name, value in (message.headers or {}).items() if name != MESSAGE_ID}
        headers |= {
            "plumbline-dlq-reason": " ".join(reason.split())[:1000],
            "plumbline-dlq-consumer": consumer,
            "plumbline-dlq-tries": str(tries or message.metadata.num_delivered),
        }
        if received is not None:
            # One letter for an event, also where its end is noted at a second try only.
            headers[MESSAGE_ID] = f"{received.id}/{received.position}/{consumer}"
        await self.broker.js.publish(
            f"{PREFIX}.dlq.{consumer}.{message.subject.removeprefix(f'{PREFIX}.')}",
            message.data,
            headers=headers,
        )
        if received is not None:
            async with self.sessions.begin() as session:
                await inbox.first_time(session, received, consumer, "dead")
            self._failures.pop(received.id, None)
        await message.term()

    async def _watch(self) -> None:
        """Report the lag, and have the producer replay what never arrived."""
        while True:
            await asyncio.sleep(GAP_CHECK_SECONDS)
            for producer in self.subscription.producers:
                try:
                    await self._check(producer)
                except Exception as error:
                    log.warning("could not check %s for gaps: %r", producer, error)

    async def _check(self, producer: str) -> None:
        consumer = self.subscription.consumer
        info = await self.broker.js.consumer_info(stream_of(producer), consumer)
        telemetry.consumer_lag.set(
            info.num_pending or 0,
            {"messaging.consumer.group.name": consumer, "plumbline.producer": producer},
        )
        async with self.sessions.begin() as session:
            missing = await inbox.gaps(session, consumer, producer, GAP_GRACE, self._oldest.get(producer, 1))
        if not missing:
            self._gap_since.pop(producer, None)
            return
        # What waits for its next try is neither done nor lost; a double of it does no harm, though.
        now = asyncio.get_running_loop().time()
        since = self._gap_since.setdefault(producer, now)
        quiet = not info.num_pending and not info.num_ack_pending
        if quiet or now - since > GAP_PATIENCE_SECONDS:
            await self._ask(producer, missing)

    async def repair(self, producer: str) -> "Standing":
        """Ask at once for all that never arrived, and for what died here: it may succeed now."""
        consumer = self.subscription.consumer
        try:
            info = await self.broker.js.consumer_info(stream_of(producer), consumer)
            in_flight = (info.num_pending or 0) + (info.num_ack_pending or 0)
        except NotFoundError:
            in_flight = 0  # the producer has never sent anything
        async with self.sessions.begin() as session:
            missing = await inbox.gaps(session, consumer, producer, 0.0, self._oldest.get(producer, 1))
            dead = await inbox.again(session, consumer, producer)
            reached = await inbox.reached(session, consumer, producer)
        # With some in flight a gap may be one of these.
        asked = [inbox.Gap(position, position) for position in dead] + ([] if in_flight else missing)
        for each in asked:
            await self._replay(producer, each)
        return Standing(producer, reached, in_flight, sum(gap.last - gap.first + 1 for gap in missing), len(dead))

    async def _replay(self, producer: str, gap: inbox.Gap) -> None:
        await self.broker.nc.publish(
            f"{PREFIX}.replay.{producer}", json.dumps({"first": gap.first, "last": gap.last}).encode()
        )

    async def _ask(self, producer: str, missing: list[inbox.Gap]) -> None:
        now = asyncio.get_running_loop().time()
        gap, again_at, wait = self._asked.get(producer, (None, 0.0, GAP_GRACE))
        if gap == missing[0]:
            if now < again_at:
                return
            wait = min(wait * 2, 600)  # the log may not reach back that far
        self._asked[producer] = (missing[0], now + wait, wait)
        log.warning("%s misses events of %s: asking for them", self.subscription.consumer, producer)
        for lost in missing:
            await self._replay(producer, lost)
