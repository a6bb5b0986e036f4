"""What the benches share: servers from the wheels, services as processes, a load generator, rows of figures."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from plumbline_stack import ports, processes
from plumbline_stack.config import DEFAULT_PORTS, StackConfig
from plumbline_stack.credentials import Credentials
from plumbline_stack.keys import Issuer
from plumbline_stack.nats import NatsServer
from plumbline_stack.postgres import PostgresServer
from plumbline_stack.supervisor import Stack

HERE = Path(__file__).parent
_rows: list[dict[str, Any]] = []


def row(
    bench: str,
    metric: str,
    value: float,
    unit: str,
    *,
    against: str | None = None,
    ratio: float | None = None,
    bar: float | None = None,
    ok: bool | None = None,
) -> None:
    """Print one figure as a JSON line. `ok` says whether the bar is held; None where there is no bar."""
    figure = {
        "bench": bench,
        "metric": metric,
        "value": round(value, 4),
        "unit": unit,
        "against": against,
        "ratio": None if ratio is None else round(ratio, 3),
        "bar": bar,
        "ok": ok,
    }
    _rows.append(figure)
    print(json.dumps(figure), flush=True)


def rows() -> list[dict[str, Any]]:
    return _rows


def say(text: str) -> None:
    """Progress goes to stderr: stdout holds figures only."""
    print(f"  {text}", file=sys.stderr, flush=True)


@dataclass
class Servers:
    """A durable PostgreSQL (fsync on), NATS and an issuer, in a folder of their own."""

    folder: Path
    postgres: PostgresServer
    nats: NatsServer
    issuer: Issuer

    def environment(self, service: str, **more: str) -> dict[str, str]:
        """The settings of a service in production's manner, nothing exported."""
        prefix = f"PLUMBLINE_{service.upper()}_"
        own = {
            "ENVIRONMENT": "production",
            "DATABASE_URL": self.postgres.dsn(service),
            "NATS_URL": self.nats.url(service),
            "JWKS_URI": self.issuer.jwks_uri,
            "JWT_ISSUER": self.issuer.issuer,
            "JWT_AUDIENCE": self.issuer.audience,
        }
        return {f"{prefix}{name}": value for name, value in own.items()} | more


@contextlib.asynccontextmanager
async def servers() -> AsyncIterator[Servers]:
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        credentials = Credentials(folder / "secrets")
        postgres = PostgresServer(folder, ports.choose(), credentials)
        taken = [ports.choose()]
        nats = NatsServer(folder, taken[0], ports.choose(taken=taken), credentials)
        await postgres.prepare(folder / "postgres.log")
        nats.prepare()
        running = []
        try:
            for server in (postgres, nats):
                process = await processes.start(server.command(), folder / f"{type(server).__name__}.log")
                running.append((process, server.command().stop_signal))
                await processes.until_ready(process, server.ready, 60)
            await postgres.initialise()
            yield Servers(folder, postgres, nats, Issuer(folder / "secrets"))
        finally:
            for process, stop_signal in reversed(running):
                await processes.stop(process, stop_signal, 15)


@contextlib.asynccontextmanager
async def process(
    *command: str, environment: Mapping[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("ab") as output:
        child = await asyncio.create_subprocess_exec(
            *command, env=os.environ | environment, cwd=HERE, stdout=output, stderr=output
        )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(child.wait(), 20)
            except TimeoutError:
                child.kill()
                await child.wait()


@contextlib.asynccontextmanager
async def uvicorn(
    app: str,
    environment: Mapping[str, str],
    folder: Path,
    *,
    factory: bool = True,
    ready: str = "/readyz",
    workers: int = 1,
) -> AsyncIterator[str]:
    """uvicorn with so many workers. Yields its URL once `ready` answers 200."""
    port = ports.choose()
    command = [sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    command += ["--timeout-keep-alive", "75", "--workers", str(workers)]
    log = folder / f"{app.split(':')[0].split('.')[0]}.log"
    async with process(*command, *(["--factory"] if factory else []), environment=environment, log=log) as child:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(trust_env=False) as client:
            for _ in range(600):
                if child.returncode is not None:
                    break
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(url + ready)).status_code == 200:
                        yield url
                        return
                await asyncio.sleep(0.1)
        raise RuntimeError(f"{app} did not get ready:\n{log.read_text()[-3000:]}")


def served(app: str) -> list[psutil.Process]:
    """The processes that `uvicorn` runs for this app."""
    return [child for child in psutil.Process().children(recursive=True) if app in child.cmdline()]


def total(of: Callable[[psutil.Process], float]) -> float:
    """Over all that this process has started, and what they have; who ends meanwhile counts for nothing."""
    found = 0.0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += of(child)
    return found


@contextlib.asynccontextmanager
async def suite(**options: Any) -> AsyncIterator[Stack]:
    """The embedded stack in production's manner; `options` are of StackConfig."""
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as name:
        Path(name).chmod(0o755)
        chosen = {each: ports.choose() for each in DEFAULT_PORTS}
        say("the stack starts")
        async with Stack(StackConfig(Path(name) / "stack", chosen, environment="production", **options)) as stack:
            yield stack


async def run(*command: str, environment: Mapping[str, str]) -> None:
    child = await asyncio.create_subprocess_exec(*command, env=os.environ | environment)
    if await child.wait():
        raise RuntimeError(f"{' '.join(command)} failed")


async def migrate(servers: Servers, service: str) -> None:
    await run(
        sys.executable,
        "-m",
        "plumbline_common.migrate",
        f"plumbline_{service}",
        environment={f"PLUMBLINE_{service.upper()}_OWNER_DATABASE_URL": servers.postgres.owner_dsn(service)},
    )


@dataclass(frozen=True)
class Load:
    """What a load generator saw: requests a second, latencies in ms, answers that were no 2xx or never came."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


class NoLoadGenerator(RuntimeError):
    pass


async def wrk(
    url: str,
    paths: list[str],
    token: str,
    *,
    connections: int = 32,
    seconds: int = 6,
    body: str | None = None,
) -> Load:
    """wrk with one thread over `paths` in turn; with `body` (JSON) POSTs, each with an Idempotency-Key of its own."""
    binary = shutil.which("wrk")
    if binary is None:
        raise NoLoadGenerator("this bench needs wrk on the PATH (Debian and Ubuntu: apt-get install wrk)")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"local paths = {{{','.join(json.dumps(path) for path in paths)}}}\n")
        script.write("local turn = 0\nrequest = function() turn = turn + 1; local path = paths[turn % #paths + 1]; ")
        if body is None:
            script.write("return wrk.format('GET', path) end\n")
        else:
            script.write(f"local headers = {{['Authorization'] = {json.dumps(f'Bearer {token}')},")
            script.write(
                f" ['Content-Type'] = 'application/json', ['Idempotency-Key'] = '{uuid.uuid4()}-' .. turn}}; "
            )
            script.write(f"return wrk.format('POST', path, headers, {json.dumps(body)}) end\n")
        script.flush()
        child = await asyncio.create_subprocess_exec(
            binary, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script.name,
            "-H", f"Authorization: Bearer {token}", url,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output = (await child.communicate())[0].decode()
    if child.returncode:
        raise RuntimeError(output)

    def latency(percent: str) -> float:
        found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s)\s*$", output, re.M)
        if found is None:
            raise RuntimeError(f"wrk printed no {percent} %:\n{output}")
        return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]

    errors = re.findall(r"(?:Non-2xx or 3xx responses:|connect|read|write|timeout) (\d+)", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if rate is None:
        raise RuntimeError(output)
    return Load(float(rate[1]), latency("50"), latency("99"), sum(map(int, errors)))
