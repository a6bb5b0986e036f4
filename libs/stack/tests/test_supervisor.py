import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest

from plumbline_stack.config import StackConfig
from plumbline_stack.credentials import Credentials
from plumbline_stack.postgres import PostgresServer
from plumbline_stack.state import AlreadyRunning, StackState, read_state
from plumbline_stack.supervisor import Stack, StackError

RUNNER = Path(__file__).with_name("run_stack.py")


async def running_in_a_process(config: StackConfig) -> tuple[Process, StackState]:
    """A supervisor in a process of its own, and its state once it is up."""
    arguments = json.dumps({"folder": str(config.folder), "ports": dict(config.ports)})
    process = await asyncio.create_subprocess_exec(sys.executable, str(RUNNER), arguments)
    async with asyncio.timeout(60):
        while True:
            state = read_state(config.folder)
            if state and state.ready and state.pid == process.pid:
                return process, state
            assert process.returncode is None
            await asyncio.sleep(0.05)


async def all_gone(pids: set[int], seconds: float) -> set[int]:
    """The pids that still live after at most `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                pids = {pid for pid in pids if lives(pid)}
                if not pids:
                    break
                await asyncio.sleep(0.05)
    except TimeoutError:
        pass
    return pids


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(pid: int) -> set[int]:
    return {child.pid for child in psutil.Process(pid).children(recursive=True)}


async def test_everything_is_up_and_says_where(stack: Stack) -> None:
    state = read_state(stack.folder)
    assert state is not None
    assert state.running
    assert state.ready
    assert state.pid == os.getpid()
    assert [child.name for child in state.children] == [
        "postgres",
        "nats",
        "collector",
        "requirements",
        "search",
        "analysis",
        "gateway",
    ]
    assert {child.status for child in state.children} == {"running"}
    assert state.urls == stack.urls
    assert dict(state.ports) == dict(stack.config.ports)


async def test_everything_listens_on_the_loopback_alone(stack: Stack) -> None:
    ours = family(os.getpid())
    addresses = {
        connection.laddr.ip
        for connection in psutil.net_connections("inet")
        if connection.laddr and connection.pid in ours and connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


async def test_secrets_are_for_their_owner_alone(stack: Stack) -> None:
    secrets = stack.folder / "secrets"
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o600}
    state = (stack.folder / "state.json").read_text()
    assert not [path for path in secrets.iterdir() if path.suffix == "" and path.read_text() in state]


async def test_postgres_does_not_run_as_root(stack: Stack) -> None:
    pid = stack.child("postgres").state.pid
    assert psutil.Process(pid).uids().effective != 0


async def test_a_second_stack_on_the_folder_is_refused(stack: Stack) -> None:
    with pytest.raises(AlreadyRunning) as refusal:
        async with Stack(stack.config):
            pass
    assert refusal.value.pid == os.getpid()
    assert str(stack.folder) in str(refusal.value)


async def test_a_child_that_dies_is_restarted_and_reported(stack: Stack, gateway: httpx.AsyncClient) -> None:
    for name in ("search", "nats"):
        child = stack.child(name)
        before = child.state
        assert before.pid is not None
        os.kill(before.pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while True:
                if child.state.pid != before.pid and child.state.status == "running":
                    break
                await asyncio.sleep(0.05)
        state = read_state(stack.folder)
        assert state is not None
        after = {each.name: each for each in state.children}[name]
        assert after.restarts == before.restarts + 1
        assert after.last_exit == "it was ended by SIGKILL"
    assert (await gateway.get("/api/v1/search")).json()["pid"] == stack.child("search").state.pid


async def test_a_stack_that_does_not_come_up_says_why_and_leaves_nothing(
    new_config: Callable[..., StackConfig],
) -> None:
    def broken(name: str, port: int, workers: int) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('no such thing as ' + 'luck')"]

    before = family(os.getpid())
    with pytest.raises(StackError, match="no such thing as luck"):
        async with Stack(new_config("broken", service_argv=broken)):
            pass
    assert await all_gone(family(os.getpid()) - before, 5) == set()


async def test_sigterm_stops_everything_in_order(new_config: Callable[..., StackConfig]) -> None:
    config = new_config("terminated")
    supervisor, _ = await running_in_a_process(config)
    children = family(supervisor.pid)
    assert len(children) > 7
    supervisor.terminate()
    assert await asyncio.wait_for(supervisor.wait(), 30) == 0
    assert await all_gone(children, 5) == set()
    assert "database system is shut down" in (config.folder / "logs" / "postgres.log").read_text()
    state = read_state(config.folder)
    assert state is not None
    assert not state.running
    assert {child.status for child in state.children} == {"stopped"}


async def test_killing_the_supervisor_leaves_no_orphan_and_loses_nothing(
    new_config: Callable[..., StackConfig],
) -> None:
    config = new_config("killed")
    supervisor, state = await running_in_a_process(config)
    server = PostgresServer(config.folder, state.ports["postgres"], Credentials(config.folder / "secrets"))
    connection = await asyncpg.connect(server.asyncpg_dsn("search_owner"))
    await connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
    children = family(supervisor.pid)
    supervisor.kill()
    await supervisor.wait()
    assert await all_gone(children, 15) == set()
    await connection.close()

    supervisor, state = await running_in_a_process(config)
    try:
        connection = await asyncpg.connect(server.asyncpg_dsn("search_owner"))
        assert await connection.fetchval("SELECT n FROM kept") == 42
        await connection.close()
    finally:
        supervisor.terminate()
        await supervisor.wait()
