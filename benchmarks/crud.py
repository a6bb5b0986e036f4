"""GET a page of 50 and GET one of 10,000 requirements: the service, the ADR's first pattern, the bare limit."""

import asyncio
import statistics
import sys
from typing import Any

import harness
import httpx
import population

from plumbline_stack import ports, processes
from plumbline_stack.gateway import Gateway, GatewayOptions

ROUNDS = 3
CONNECTIONS = 32


async def main() -> None:
    async with harness.servers() as servers:
        await harness.migrate(servers, "requirements")
        environment = servers.environment("requirements") | {"BENCH_DSN": servers.postgres.dsn("requirements")}
        token = servers.issuer.token("editor")
        folder = servers.folder
        async with (
            harness.uvicorn("plumbline_requirements.main:create_app", environment, folder) as ours,
            harness.uvicorn("crud_peers:sync_sqlalchemy", environment, folder) as sync,
            harness.uvicorn("crud_peers:raw_asyncpg", environment, folder) as raw,
        ):
            async with httpx.AsyncClient(base_url=ours, headers={"Authorization": f"Bearer {token}"}) as client:
                ids = await population.populate(servers.postgres, client, 10_000)
                await _same_answers(client, sync, raw, ids[0])
            await _compare({"ours": ours, "sync": sync, "raw": raw}, ids, token)
            await _gateway(servers, ours, token)


async def _same_answers(client: httpx.AsyncClient, sync: str, raw: str, id: str) -> None:
    """All three tell the same of the same requirements, or the ratios mean nothing."""
    for path in ("/api/v1/requirements", f"/api/v1/requirements/{id}"):
        bodies: list[Any] = [(await client.get(base + path)).json() for base in ("", sync, raw)]
        for body in bodies[1:]:
            mine, other = (bodies[0]["items"][0], body["items"][0]) if "items" in body else (bodies[0], body)
            assert bodies[0].get("total") == body.get("total")
            assert len(bodies[0].get("items", [])) == len(body.get("items", []))
            for name in ("id", "title", "slos", "labels", "status", "description"):
                assert mine[name] == other[name], name


async def _compare(urls: dict[str, str], ids: list[str], token: str) -> None:
    for what, paths in (
        ("list", ["/api/v1/requirements"]),
        ("get", [f"/api/v1/requirements/{id}" for id in ids]),
    ):
        seen: dict[str, list[harness.Load]] = {side: [] for side in urls}
        for url in urls.values():
            await harness.wrk(url, paths, token, seconds=2)
        # In turn, so that a change of the machine's speed meets all sides.
        for round in range(ROUNDS):
            for side, url in urls.items():
                load = await harness.wrk(url, paths, token, connections=CONNECTIONS)
                seen[side].append(load)
                harness.say(
                    f"{what} {round + 1}/{ROUNDS} {side}: {load.requests_per_s:.0f}/s,"
                    f" p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms, errors {load.errors}"
                )
                if load.errors:
                    sys.exit(f"{side} answered {load.errors} requests with an error")

        def ratio(side: str, seen: dict[str, list[harness.Load]] = seen) -> float:
            pairs = zip(seen["ours"], seen[side], strict=True)
            return statistics.median(ours.requests_per_s / theirs.requests_per_s for ours, theirs in pairs)

        rate = statistics.median(load.requests_per_s for load in seen["ours"])
        p99 = {side: statistics.median(load.p99_ms for load in loads) for side, loads in seen.items()}
        harness.row(
            "crud",
            f"{what}_vs_sync_sqlalchemy",
            rate,
            "requests/s",
            against="sync def, sync SQLAlchemy, psycopg",
            ratio=ratio("sync"),
            bar=3.0,
            ok=ratio("sync") >= 3.0 and p99["ours"] < p99["sync"],
        )
        harness.row("crud", f"{what}_p99_ms", p99["ours"], "ms", against="the sync pattern's p99",
                    ratio=p99["ours"] / p99["sync"], bar=1.0, ok=p99["ours"] < p99["sync"])  # fmt: skip
        bar = 0.6
        harness.row(
            "crud",
            f"{what}_vs_raw_asyncpg",
            rate,
            "requests/s",
            against="bare Starlette, prepared asyncpg, orjson",
            ratio=ratio("raw"),
            bar=bar,
            ok=ratio("raw") >= bar,
        )


async def _gateway(servers: harness.Servers, ours: str, token: str) -> None:
    """What Envoy adds to one request at a time, pair by pair."""
    port = int(ours.rsplit(":", 1)[1])
    nowhere = "http://127.0.0.1:9/v1/traces"
    gateway = Gateway(
        servers.folder,
        ports.choose(),
        {"requirements": port, "search": port, "analysis": port},
        GatewayOptions(
            jwt_issuer=servers.issuer.issuer,
            jwt_audience=servers.issuer.audience,
            jwks=servers.issuer.jwks_path,
            fault_secret="",
            traces_endpoint=nowhere,
            metrics_endpoint=nowhere,
            rate_limit_per_second=1_000_000,
            rate_limit_burst=1_000_000,
        ),
    )
    gateway.prepare()
    envoy = await processes.start(gateway.command(), servers.folder / "gateway.log")
    try:
        await processes.until_ready(envoy, gateway.ready, 60)
        added = []
        for _ in range(ROUNDS):
            path = ["/api/v1/requirements?limit=1"]
            direct = await harness.wrk(ours, path, token, connections=1, seconds=4)
            through = await harness.wrk(gateway.url, path, token, connections=1, seconds=4)
            harness.say(f"one at a time: p50 {direct.p50_ms:.2f} ms, through the gateway {through.p50_ms:.2f} ms")
            added.append(through.p50_ms - direct.p50_ms)
        harness.row("crud", "gateway_added_p50_ms", statistics.median(added), "ms", against="the service itself")
    finally:
        await processes.stop(envoy, gateway.command().stop_signal, 10)


if __name__ == "__main__":
    asyncio.run(main())
