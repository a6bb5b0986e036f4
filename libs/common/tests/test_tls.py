"""PostgreSQL and NATS by TLS, with certificates on both sides. What they refuse is refused by the real programs."""

import asyncio
import contextlib
import json
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from sqlalchemy import text

from plumbline_common import bus, db, errors
from plumbline_common.settings import ServiceSettings
from plumbline_stack import nats, ports, processes

SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A server's and a client's certificate, and the authorities of ours and of strangers."""
    folder = tmp_path_factory.mktemp("certificates")
    found = {name: folder / f"{name}.pem" for name in ("ca", "stranger")}
    authority.cert_pem.write_to_path(found["ca"])
    trustme.CA().cert_pem.write_to_path(found["stranger"])
    for name, host in (("server", "localhost"), ("client", "requirements.example")):
        issued = authority.issue_cert(host)
        found |= {part: folder / f"{part}.pem" for part in (name, f"{name}_key")}
        issued.cert_chain_pems[0].write_to_path(found[name])
        issued.private_key_pem.write_to_path(found[f"{name}_key"])
    return found


@pytest.fixture
def told(settings: ServiceSettings, files: dict[str, Path]) -> Callable[..., ServiceSettings]:
    """The settings of a service that speaks TLS: with `ca`, and with a certificate unless `shown` is false."""

    def make(ca: str = "ca", shown: bool = True, **more: Any) -> ServiceSettings:
        mine = {"tls_certificate_file": files["client"], "tls_key_file": files["client_key"]} if shown else {}
        trust = {"database_tls": True, "nats_tls": True, "tls_ca_file": files[ca]}
        return settings.model_copy(update=trust | mine | more)

    return make


@contextlib.asynccontextmanager
async def in_front_of(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A TLS front of the real server, as PgBouncer is one: the server from the wheel is built without TLS."""

    async def pump(reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
                writer.close()
                return
            writer.write(b"S")
            await writer.start_tls(context)
            behind = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(pump(reader, behind[1]), pump(behind[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def one(settings: ServiceSettings) -> int:
    engine = db.create_engine(settings, "tests")
    try:
        async with engine.connect() as connection:
            return int((await connection.execute(text("SELECT 1"))).scalar_one())
    finally:
        await engine.dispose()


async def test_the_database_is_reached_by_tls_alone(
    told: Callable[..., ServiceSettings], settings: ServiceSettings, postgres: Any, files: dict[str, Path]
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files["ca"])
    context.load_cert_chain(files["server"], files["server_key"])
    context.verify_mode = ssl.CERT_REQUIRED
    async with in_front_of(postgres.port, context) as port:
        by_name = settings.database_url.replace(f"127.0.0.1:{postgres.port}", f"localhost:{port}")
        assert await one(told(database_url=by_name)) == 1
        by_address = by_name.replace("localhost", "127.0.0.1")
        refused = (
            told(database_url=by_name, ca="stranger"),
            told(database_url=by_name, shown=False),
            told(database_url=by_address),
            told(),  # a server that has no TLS
        )
        for each in refused:
            with pytest.raises((errors.Unavailable, ssl.SSLError)):
                await one(each)


async def test_nats_is_reached_by_tls_alone(
    told: Callable[..., ServiceSettings], settings: ServiceSettings, files: dict[str, Path], tmp_path: Path
) -> None:
    port = ports.choose()
    tls = {"cert_file": files["server"], "key_file": files["server_key"], "ca_file": files["ca"], "verify": True}
    users = [{"user": "requirements", "password": "secret"}]
    config = {
        "listen": f"127.0.0.1:{port}",
        "tls": tls | {"handshake_first": "auto"},
        "authorization": {"users": users},
    }
    (tmp_path / "nats.conf").write_text(json.dumps(config, default=str))
    server = await processes.start(
        processes.Command([str(nats.program()), "--config", str(tmp_path / "nats.conf")]), tmp_path / "log"
    )
    try:
        by_name, by_address = (f"nats://requirements:secret@{host}:{port}" for host in ("localhost", "127.0.0.1"))
        assert await connects(told(nats_url=by_name), 10)
        for each in (
            told(nats_url=by_name, ca="stranger"),
            told(nats_url=by_name, shown=False),
            told(nats_url=by_address),
            told(nats_url=settings.nats_url),  # a server that has no TLS: it is not told the password
        ):
            assert not await connects(each, 0.4)
    finally:
        await processes.stop(server, processes.Command([]).stop_signal, 5)


async def connects(settings: ServiceSettings, seconds: float) -> bool:
    broker = bus.Broker(settings.nats_url, "tests", tls=settings.nats_context)
    connecting = asyncio.create_task(broker.connect())
    try:
        await asyncio.wait_for(asyncio.shield(broker.connected()), seconds)
    except TimeoutError:
        return False
    finally:
        connecting.cancel()
        await broker.close()
    return True
