"""The app factory: what every service's HTTP edge shares, and where its transactions begin and end."""

import asyncio
import contextlib
import gc
import logging
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version as installed_version
from typing import IO, Annotated, Any

import fastapi_offline
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from opentelemetry import trace
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plumbline_common import admission, asyncapi, auth, bus, db, openapi, outbox, problems, telemetry
from plumbline_common.admission import Admission
from plumbline_common.issuer import IssuerKeys
from plumbline_common.settings import ServiceSettings
from plumbline_common.watchdog import Watchdog

log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[None]]
"""Raises with the reason where the service is not ready, `Degraded` where it answers all the same."""


class Degraded(Exception):
    """A dependency is away that no request needs: `/readyz` names it, and answers 200."""


Skip = Annotated[int, Query(ge=0, le=2**31 - 1, description="How many to leave out")]
Limit = Annotated[int, Query(ge=1, le=100, description="How many to answer at most")]
IfMatch = Annotated[str | None, Header(max_length=200, description="The ETag that was read")]
ETAG: dict[str, Any] = {"ETag": {"description": "The revision, for If-Match", "schema": {"type": "string"}}}
"""Headers of an answer, for the OpenAPI document."""
LOCATION: dict[str, Any] = {"Location": {"description": "Where it is read", "schema": {"type": "string"}}}


async def open_session(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.sessions.begin() as session:
        yield session


async def open_read_session(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.kept_sessions.session() as session:
        yield session


# `function`: the exit runs before the reply leaves, so that what was acknowledged is durable.
Session = Annotated[AsyncSession, Depends(open_session, scope="function")]
"""One transaction; it commits before the reply leaves."""
ReadSession = Annotated[AsyncSession, Depends(open_read_session, scope="function")]
"""Each statement is a transaction of its own: there is no BEGIN and no COMMIT to wait for."""


IN_MEMORY = 8 * 1024 * 1024
"""Of a spooled body, in bytes; the rest lies in a file."""
_BLOCK = 1024 * 1024
LINES = "application/x-ndjson"


async def spooled(request: Request) -> IO[bytes]:
    """The whole body, for who answers while it is read; the caller closes it.

    A client that does not read while it writes would wait for an answer's reader, and that for the client.
    """
    admission.leave()
    spool = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - the caller closes it
    try:
        async for chunk in request.stream():
            if chunk:
                await run_in_threadpool(spool.write, chunk)
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return spool


async def lines(spool: IO[bytes], longest: int) -> AsyncIterator[bytes]:
    """The lines that are not blank. Of one longer than `longest` only as much as tells that it is."""
    while block := await run_in_threadpool(_block, spool, longest):
        for line in block:
            if line.strip():
                yield line.strip()


def _block(spool: IO[bytes], longest: int) -> list[bytes]:
    lines: list[bytes] = []
    size = 0
    while size < _BLOCK and (line := spool.readline(longest + 2)):
        lines.append(line)
        size += len(line)
        while not line.endswith(b"\n") and (line := spool.readline(IN_MEMORY)):
            pass  # the rest of a line that is too long
    return lines


def json_response(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON that is ready as bytes."""
    return Response(content, status, headers, "application/json")


def create_app(
    name: str,
    settings: ServiceSettings,
    *,
    routers: Sequence[APIRouter],
    subscription: Callable[[FastAPI], bus.Subscription] | None = None,
    consumes: Sequence[Any] = (),
    resources: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    body_limits: Mapping[str, int] | None = None,
) -> FastAPI:
    """The service `name`. Raises `ValueError` where a route has no authorization decision.

    `resources` runs inside the lifespan, around the subscription. `consumes` are the events that the subscription
    handles, for the AsyncAPI document. `body_limits` are bytes by path, where they differ from the setting.
    """
    version = installed_version(f"plumbline-{name}")

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            await _start(stack, app, name, settings, version, subscription, resources)
            yield

    app = FastAPI(
        title=f"Plumbline {name}",
        version=version,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={
            "operation_spans": False,  # an endpoint is one service call, which names its own spans
            "logs": False,  # problems.py logs what went wrong
            "exclude": lambda scope: scope["path"] in ("/healthz", "/readyz"),
        },
        separate_input_output_schemas=False,
    )
    app.state.settings = settings
    app.state.checks = {}
    app.state.body_limits = dict(body_limits or {})
    claims = auth.Claims(settings.jwt_roles_claim, settings.jwt_teams_claim, settings.jwt_role_names)
    keys = IssuerKeys(settings.jwt_issuer, settings.jwks_uri, settings.issuer_context)
    app.state.authenticator = auth.Authenticator(keys, settings.jwt_audience, claims)
    problems.install(app)
    app.include_router(_health(f"plumbline_{name}"))
    for router in routers:
        app.include_router(router)
    _documents(app, asyncapi.document(name, version, consumes))
    app.add_middleware(
        Admission, most=settings.concurrent_requests, always=("/healthz", "/readyz"), refuse=_overloaded
    )
    app.add_middleware(Edge, body_limit=settings.body_limit_bytes)
    openapi.install(app)
    return app


async def _start(
    stack: contextlib.AsyncExitStack,
    app: FastAPI,
    name: str,
    settings: ServiceSettings,
    version: str,
    subscription: Callable[[FastAPI], bus.Subscription] | None,
    resources: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None,
) -> None:
    """Everything that runs beside the requests; `stack` ends it in the opposite order."""
    # What was imported stays for good: no pause of the garbage collector need look at it again.
    gc.collect()
    gc.freeze()
    # A thread that computes lets the event loop have its turn after a millisecond, not five at each of its steps.
    sys.setswitchinterval(0.001)
    flush = telemetry.set_up(f"plumbline-{name}", settings.environment, version)
    stack.push_async_callback(asyncio.to_thread, flush)
    if settings.watchdog_threshold is not None:
        await stack.enter_async_context(Watchdog(settings.watchdog_threshold))
    engine = db.create_engine(settings, f"plumbline-{name}")
    stack.push_async_callback(engine.dispose)
    app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    app.state.read_sessions = async_sessionmaker(
        engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False
    )
    pool = settings.database_pool_size
    app.state.kept_sessions = db.Kept(app.state.read_sessions, max(1, pool // 4), max(1, pool // 2))
    stack.push_async_callback(app.state.kept_sessions.close)
    telemetry.observe_engine(engine, name, app.state.kept_sessions)
    broker = bus.Broker(settings.nats_url, f"plumbline-{name}", settings.stream_replicas, settings.nats_context)
    app.state.checks |= {
        "database": lambda: _database_answers(app.state.read_sessions),
        "migrations": lambda: _migrated(app.state.read_sessions, f"plumbline_{name}"),
        "bus": lambda: _bus_connected(broker),
        "issuer": app.state.authenticator.keys.check,
    }
    await stack.enter_async_context(background("keys of the issuer", app.state.authenticator.keys.run))
    stack.push_async_callback(broker.close)
    await stack.enter_async_context(background("connection to nats", broker.stay_connected))
    relay = outbox.Relay(engine, broker, name)
    await stack.enter_async_context(background("outbox relay", relay.run))
    if resources is not None:
        await stack.enter_async_context(resources(app))
    if subscription is not None:
        app.state.consumer = consumer = bus.Consumer(broker, app.state.sessions, subscription(app))
        await stack.enter_async_context(background("consumer", consumer.run, stop=consumer.stop))


@contextlib.asynccontextmanager
async def background(
    what: str,
    run: Callable[[], Coroutine[Any, Any, None]],
    *,
    forever: bool = True,
    stop: Callable[[], None] | None = None,
) -> AsyncIterator[None]:
    """Run a task beside the requests; one that fails is reported and starts again."""
    stopping = False
    loop = asyncio.get_running_loop()

    async def supervised() -> None:
        wait = 0.2
        while not stopping:
            began = loop.time()
            try:
                await run()
                if not forever or stopping:
                    return
            except Exception:
                if loop.time() - began > 60:
                    wait = 0.2
                log.exception("%s failed; it starts again in %.1f s", what, wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 10)

    task = asyncio.create_task(supervised(), name=what)
    try:
        yield
    finally:
        stopping = True
        if stop is not None:
            stop()
            await asyncio.wait({task}, timeout=bus.DRAIN_SECONDS)
        # Again and again: a library under the task may swallow a cancellation.
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1)


# --- Health ---------------------------------------------------------------------------------------------


async def _database_answers(sessions: db.Sessions) -> None:
    async with sessions() as session:
        await session.execute(text("SELECT 1"))


async def _migrated(sessions: db.Sessions, package: str) -> None:
    async with sessions() as session:
        found = (await session.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
    expected = db.newest_migration(package)
    # A later one is fine: a release only expands what the one before it needs.
    if found < expected:
        raise RuntimeError(f"the schema is at {found}, this program needs {expected}: run make migrate")


async def _bus_connected(broker: bus.Broker) -> None:
    if not broker.is_connected:
        reason = "no connection to NATS; events wait in the outbox"
        raise Degraded(reason) if broker.connections else RuntimeError(reason)


def _health(package: str) -> APIRouter:
    router = APIRouter(include_in_schema=False, dependencies=[Depends(auth.public)])

    @router.get("/healthz")
    async def alive() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz")
    async def ready(request: Request) -> Response:
        async def outcome(check: Check) -> str:
            try:
                await asyncio.wait_for(check(), 2)
            except Exception as error:
                log.warning("not ready: %r", error)
                if isinstance(error, Degraded):
                    return "degraded"
                return "timed out" if isinstance(error, TimeoutError) else type(error).__name__
            return "ok"

        checks: dict[str, Check] = request.app.state.checks
        found = dict(zip(checks, await asyncio.gather(*map(outcome, checks.values())), strict=True))
        values = set(found.values())
        status = "ok" if values == {"ok"} else "degraded" if values == {"ok", "degraded"} else "not ready"
        return JSONResponse({"status": status, "checks": found}, 503 if status == "not ready" else 200)

    return router


# --- Documents ------------------------------------------------------------------------------------------


def _documents(app: FastAPI, events: dict[str, Any]) -> None:
    app.state.asyncapi = events
    router = APIRouter(include_in_schema=False, dependencies=[Depends(auth.public)])

    @router.get("/docs")
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            swagger_js_url="/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/docs/assets/swagger-ui.css",
            swagger_favicon_url="/docs/assets/favicon.png",
        )

    @router.get("/asyncapi.json")
    async def asyncapi_document() -> dict[str, Any]:
        return events

    app.include_router(router)
    assets = f"{fastapi_offline.__path__[0]}/static"
    app.mount("/docs/assets", StaticFiles(directory=assets), name="docs-assets")


# --- The edge of every request --------------------------------------------------------------------------


def _overloaded(scope: Scope) -> ASGIApp:
    telemetry.shed_requests.add(1)
    return problems.problem(
        429,
        "overloaded",
        "More requests come than can be answered",
        request=Request(scope),
        detail="nothing was done; try again later",
        headers={"Retry-After": "1"},
    )


_REQUEST_ID = re.compile(rb"[\w.:-]{1,128}")


class Edge:
    """Bounds the body, and sets on every reply the ids of the request and of its trace."""

    def __init__(self, app: ASGIApp, body_limit: int) -> None:
        self._app = app
        self._limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        telemetry.remember_span()
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        limit = scope["app"].state.body_limits.get(scope["path"], self._limit)
        request_id = headers.get(b"x-request-id", b"")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = str(db.new_id()).encode()
        telemetry.request_id.set(request_id.decode())
        received = 0
        started = False

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise HTTPException(413, f"the body is larger than {limit} bytes")
            return message

        async def stamped(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                context = trace.get_current_span().get_span_context()
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id),
                    (b"x-content-type-options", b"nosniff"),
                    *([(b"x-trace-id", f"{context.trace_id:032x}".encode())] if context.is_valid else []),
                ]
            await send(message)

        if declared.isdigit() and int(declared) > limit:
            # The connection stays open: closed on a sender that still writes, the answer would be lost in a reset.
            reply = problems.problem(
                413,
                "body-too-large",
                "The request body is too large",
                request=Request(scope),
                detail=f"the body is larger than {limit} bytes",
            )
            await reply(scope, receive, stamped)
            return
        try:
            await self._app(scope, bounded, stamped)
        except Exception as error:
            if started:
                raise
            await (await problems.unforeseen(Request(scope), error))(scope, receive, stamped)
