"""One OS process: started tied to our life, in a process group of its own, logging to a file."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from plumbline_stack.accounts import Account

_LAUNCH = Path(__file__).with_name("launch.py")
_TAIL_BYTES = 65_536
_POLL_SECONDS = 0.05


class NotReady(Exception):
    """A process ended, or its deadline passed, before it could serve."""


@dataclass(frozen=True)
class Command:
    """What to run. `argv[0]` is an absolute path; `env` is added to our own environment, `niceness` to our own."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    account: Account | None = None
    niceness: int = 0


async def start(command: Command, log: Path) -> Process:
    """Starts it, its output appended to `log`. It gets `stop_signal` should this process die first."""
    account = command.account
    launcher = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(int(command.stop_signal))]
    launcher += [str(account.uid), str(account.gid)] if account else ["-1", "-1"]
    launcher.append(str(command.niceness))
    # Appended, so that truncating the file while it is written leaves no hole.
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *launcher,
            *command.argv,
            env={**os.environ, **command.env},
            cwd=command.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which keeps the order
        )


async def stop(process: Process, stop_signal: signal.Signals, deadline: float) -> bool:
    """Asks, waits `deadline` seconds, then kills it with all that it started. Whether asking was enough."""
    asked = True
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(stop_signal)
        try:
            async with asyncio.timeout(deadline):
                await process.wait()
        except TimeoutError:
            asked = False
    kill_group(process.pid)
    await process.wait()
    return asked


def kill_group(leader: int) -> None:
    """SIGKILL to what is left of the process group of `leader`, its own children included."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


async def run(command: Command, log: Path, deadline: float) -> int:
    """Runs it to its end and gives the exit code. Raises NotReady after `deadline` seconds."""
    process = await start(command, log)
    try:
        async with asyncio.timeout(deadline):
            return await process.wait()
    except TimeoutError:
        raise NotReady(f"{Path(command.argv[0]).name} took longer than {deadline:.0f} s{_load()}") from None
    finally:
        if process.returncode is None:
            await stop(process, signal.SIGKILL, 1)


async def until_ready(process: Process, ready: Callable[[], Awaitable[bool]], deadline: float) -> None:
    """Returns once `ready()` is true. Raises NotReady when the process ends or the deadline passes first."""
    try:
        async with asyncio.timeout(deadline):
            while True:
                answered = await ready()
                # Asked after the answer, which may have come from another process on its port.
                if process.returncode is not None:
                    raise NotReady(f"it ended with exit code {process.returncode} before it was ready")
                if answered:
                    return
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise NotReady(f"it was not ready after {deadline:.0f} s{_load()}") from None


def _load() -> str:
    """That the machine has more to do than processors, which makes everything late; empty where it has not."""
    waiting, processors = os.getloadavg()[0], os.cpu_count() or 1
    return f"; the machine is busy: load {waiting:.1f} on {processors} processors" if waiting > processors else ""


def tail(log: Path, lines: int = 8) -> str:
    """The last lines of a log, for a message about what went wrong."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        cut = max(0, log.stat().st_size - _TAIL_BYTES)
        file.seek(cut)
        whole = file.read().decode(errors="replace").splitlines()[bool(cut) :]
        return "\n".join(map(_told, whole[-lines:]))
    return ""


def _told(line: str) -> str:
    """Level and message of a JSON line, of a traceback what was raised; another line as it stands."""
    try:
        record = json.loads(line)
        said = str(record["message"]).strip().splitlines()
        return f"{record['level']}: {said[-1] if said[0].startswith('Traceback') else said[0]}"
    except (ValueError, TypeError, LookupError):
        return line
