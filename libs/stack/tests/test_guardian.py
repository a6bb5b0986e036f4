import asyncio
import signal
import sys
from pathlib import Path

from plumbline_stack import guardian, processes
from plumbline_stack.guard import Guard
from plumbline_stack.processes import Command

DEAF = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""


async def deaf_child(log: Path) -> asyncio.subprocess.Process:
    process = await processes.start(Command([sys.executable, "-c", DEAF]), log)

    async def printed() -> bool:
        return b"deaf" in log.read_bytes()

    await processes.until_ready(process, printed, 20)
    return process


async def guardian_of(process: asyncio.subprocess.Process) -> asyncio.subprocess.Process:
    made = await asyncio.create_subprocess_exec(
        sys.executable, guardian.__file__, "0.3", stdin=asyncio.subprocess.PIPE
    )
    assert made.stdin is not None
    made.stdin.write(f"+{process.pid} {int(signal.SIGTERM)}\n".encode())
    await made.stdin.drain()
    return made


async def test_when_the_supervisor_is_gone_its_children_end(tmp_path: Path) -> None:
    child = await deaf_child(tmp_path / "log")
    guarding = await guardian_of(child)
    assert guarding.stdin is not None
    guarding.stdin.close()  # as the kernel does when the supervisor dies
    assert await asyncio.wait_for(guarding.wait(), 10) == 0
    assert await asyncio.wait_for(child.wait(), 5) == -signal.SIGKILL


async def test_after_an_orderly_end_it_touches_nothing(tmp_path: Path) -> None:
    child = await deaf_child(tmp_path / "log")
    async with Guard(0.3) as guard:
        guard.started(child.pid, signal.SIGTERM)
    assert child.returncode is None
    await processes.stop(child, signal.SIGKILL, 5)


async def test_a_child_that_ended_is_forgotten(tmp_path: Path) -> None:
    child = await deaf_child(tmp_path / "log")
    guarding = await guardian_of(child)
    assert guarding.stdin is not None
    guarding.stdin.write(f"-{child.pid}\n".encode())
    guarding.stdin.close()
    assert await asyncio.wait_for(guarding.wait(), 10) == 0
    assert child.returncode is None
    await processes.stop(child, signal.SIGKILL, 5)
