"""pytest fixtures: PostgreSQL and NATS in containers of the images of docker-compose.yml, instead of from wheels."""

import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest_asyncio
import yaml
from starlette.concurrency import run_in_threadpool
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

from plumbline_stack import ports
from plumbline_stack.credentials import Credentials
from plumbline_stack.layout import SERVICES, deployment_file, owner
from plumbline_stack.nats import ADMIN, USERS, passwords
from plumbline_stack.postgres import DATABASE

CONFIG = """
listen: 0.0.0.0:4222
http: 0.0.0.0:8222
server_name: plumbline
jetstream { store_dir: /data, max_memory_store: 256MB }
include users.conf
"""
COMPOSE = (Path(__file__).parents[2] / "docker-compose.yml").read_text()
INITDB: str = yaml.safe_load(COMPOSE)["services"]["postgres"]["environment"]["POSTGRES_INITDB_ARGS"]


def image(name: str) -> str:
    """With the tag that docker-compose.yml has."""
    found = re.search(rf"image: (?:&\w+ )?({re.escape(name)}:\S+)", COMPOSE)
    assert found, name
    return found[1]


class PostgresInContainer:
    """As much of the server of the wheel as tests use."""

    def __init__(self, container: PostgresContainer, credentials: Credentials) -> None:
        self.port = int(container.get_exposed_port(5432))
        self._credentials = credentials

    def asyncpg_dsn(self, role: str = "postgres", database: str = DATABASE) -> str:
        return f"postgresql://{role}:{self._credentials.get(f'postgres-{role}')}@127.0.0.1:{self.port}/{database}"

    def dsn(self, role: str) -> str:
        return self.asyncpg_dsn(role).replace("postgresql:", "postgresql+asyncpg:")

    def owner_dsn(self, service: str) -> str:
        return self.dsn(owner(service))

    @property
    def admin_dsn(self) -> str:
        return self.dsn("postgres")

    async def initialise(self) -> None:
        roles = [role for name in SERVICES for role in (name, owner(name))]
        secrets = {f"plumbline.{role}_password": self._credentials.get(f"postgres-{role}") for role in roles}
        connection = await asyncpg.connect(self.asyncpg_dsn(), server_settings=secrets)
        try:
            await connection.execute(deployment_file("postgres/init.sql").read_text())
        finally:
            await connection.close()


class NatsInContainer:
    """A server that a test may stop, kill or rob of its store. The port stays the same."""

    def __init__(self, folder: Path, credentials: Credentials) -> None:
        self._folder = folder
        self._credentials = credentials
        self._port = ports.choose()
        self._container: DockerContainer | None = None

    def url(self, user: str) -> str:
        return f"nats://{user}:{self._credentials.get(f'nats-{user}')}@127.0.0.1:{self._port}"

    @property
    def admin_url(self) -> str:
        return self.url(ADMIN)

    async def start(self) -> None:
        await run_in_threadpool(self._start)

    def _start(self) -> None:
        if self._container is None:
            container = DockerContainer(image("nats")).with_command(["nats-server", "--config", "/config/nats.conf"])
            container.with_volume_mapping(str(self._folder), "/config", "ro")
            container.with_envs(**passwords(self._credentials))
            container.with_bind_ports(4222, self._port).with_exposed_ports(8222)
            container.waiting_for(HttpWaitStrategy(8222, "/healthz"))
            self._container = container.start()
        else:
            self._container.get_wrapped_container().start()
            HttpWaitStrategy(8222, "/healthz").wait_until_ready(self._container)

    async def stop(self) -> None:
        if self._container is not None:
            await run_in_threadpool(self._container.get_wrapped_container().stop, timeout=15)

    async def kill(self) -> None:
        if self._container is not None:
            await run_in_threadpool(self._container.get_wrapped_container().kill)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def remove(self) -> None:
        if self._container is not None:
            await run_in_threadpool(self._container.stop)
            self._container = None

    async def wipe_jetstream(self) -> None:
        """Its store goes with the container."""
        await self.remove()
        await self.start()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(stack_folder: Path) -> AsyncIterator[PostgresInContainer]:
    credentials = Credentials(stack_folder / "secrets")
    secret = credentials.get("postgres-postgres")
    container = PostgresContainer(image("pgvector/pgvector"), username="postgres", password=secret, dbname=DATABASE)
    container.with_env("POSTGRES_INITDB_ARGS", INITDB)
    container.with_command("postgres -c max_connections=200 -c fsync=off -c full_page_writes=off")
    await run_in_threadpool(container.start)
    try:
        server = PostgresInContainer(container, credentials)
        await server.initialise()
        yield server
    finally:
        await run_in_threadpool(container.stop)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_server(stack_folder: Path) -> AsyncIterator[NatsInContainer]:
    credentials = Credentials(stack_folder / "secrets")
    with tempfile.TemporaryDirectory(prefix="plumbline-nats-") as folder:
        shutil.copy(deployment_file(USERS), folder)
        (Path(folder) / "nats.conf").write_text(CONFIG)
        server = NatsInContainer(Path(folder), credentials)
        await server.start()
        try:
            yield server
        finally:
            await server.remove()
