"""Whom the gateway believes: an issuer's keys that it fetches, and services that show a certificate."""

import asyncio
import contextlib
import ssl
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import trustme

import oidc_provider
from plumbline_stack import ports, processes
from plumbline_stack.gateway import Gateway, GatewayOptions, Tls
from plumbline_stack.layout import SERVICES

PATH = "/api/v1/requirements"
NOWHERE = "http://127.0.0.1:9/v1/traces"


@contextlib.asynccontextmanager
async def service(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Answers every request with 200, on this port."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def gateway(folder: Path, upstreams: dict[str, int], **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    given = GatewayOptions(
        jwt_audience="plumbline", fault_secret="", traces_endpoint=NOWHERE, metrics_endpoint=NOWHERE, **options
    )
    running = Gateway(folder, ports.choose(), upstreams, given)
    running.prepare()
    process = await processes.start(running.command(), folder / "gateway.log")
    try:
        await processes.until_ready(process, running.ready, 60)
        async with httpx.AsyncClient(base_url=running.url, trust_env=False) as client:
            yield client
    finally:
        await processes.stop(process, running.command().stop_signal, 5)


async def until(status: int, ask: Callable[[], Awaitable[httpx.Response]]) -> None:
    async with asyncio.timeout(15):
        while (await ask()).status_code != status:
            await asyncio.sleep(0.05)


async def test_keys_are_fetched_rotated_and_outlast_their_provider(tmp_path: Path) -> None:
    async with (
        oidc_provider.running(tmp_path, ports.choose()) as provider,
        service() as upstream,
        gateway(
            tmp_path,
            dict.fromkeys(SERVICES, upstream),
            jwt_issuer=provider.issuer,
            jwks=f"{provider.issuer}/jwks",
            jwks_interval="0.2s",
        ) as client,
    ):

        async def ask(token: str) -> httpx.Response:
            return await client.get(PATH, headers={"Authorization": f"Bearer {token}"})

        before, old = await provider.token(), provider.keys[-1]
        assert (await ask(before)).status_code == 200
        provider.rotate()
        after = await provider.token()
        await until(200, lambda: ask(after))
        assert (await ask(reissued(before, old))).status_code == 401

        await provider.stop()
        provider.rotate(keep=True)
        began = time.monotonic()
        while time.monotonic() - began < 0.5:  # more than twice the time that keys are kept for
            assert (await ask(reissued(after, provider.keys[0]))).status_code == 200
            await asyncio.sleep(0.05)
        assert (await ask(reissued(after, provider.keys[1]))).status_code == 401


def reissued(token: str, signing: dict[str, Any]) -> str:
    """By that key, and none that is remembered."""
    claims = jwt.decode(token, options={"verify_signature": False}) | {"jti": str(time.monotonic())}
    key = jwt.PyJWK(signing)
    return jwt.encode(claims, key.key, key.algorithm_name, {"kid": key.key_id})


def tls_server(authority: trustme.CA, name: str, clients: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    clients.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_services_are_spoken_to_by_tls_and_must_show_who_they_are(tmp_path: Path, issuer: Any) -> None:
    ours, strangers = trustme.CA(), trustme.CA()
    mine = ours.issue_cert("gateway.plumbline.example")
    files = Tls(*(tmp_path / f"{name}.pem" for name in ("ca", "certificate", "key")))
    for blob, file in ((ours.cert_pem, files.ca), (mine.cert_chain_pems[0], files.certificate)):
        blob.write_to_path(file)
    mine.private_key_pem.write_to_path(files.key)
    async with (
        service(tls_server(ours, "localhost", clients=ours)) as requirements,
        service(tls_server(ours, "another.example", clients=ours)) as search,
        service(tls_server(strangers, "localhost", clients=ours)) as analysis,
        gateway(
            tmp_path,
            {"requirements": requirements, "search": search, "analysis": analysis},
            jwt_issuer=issuer.issuer,
            jwks=issuer.jwks_path,
            services_host="localhost",
            services_tls=files,
        ) as client,
    ):
        client.headers["authorization"] = f"Bearer {issuer.token('viewer')}"
        paths = (PATH, "/api/v1/search?q=a", "/api/v1/anomalies")
        assert [(await client.get(path)).status_code for path in paths] == [200, 503, 503]
