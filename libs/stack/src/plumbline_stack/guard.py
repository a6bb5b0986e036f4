"""Our end of the pipe to the guardian."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import Process
from pathlib import Path

_SCRIPT = Path(__file__).with_name("guardian.py")


class Guard:
    """A guardian process that is told which children live. `async with` ends it in peace.

    Should we be killed, it asks them to end and kills what is left after `deadline` seconds.
    """

    def __init__(self, deadline: float = 8.0) -> None:
        self._deadline = deadline
        self._process: Process | None = None

    async def __aenter__(self) -> "Guard":
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(_SCRIPT),
            str(self._deadline),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._tell("bye")
        process, self._process = self._process, None
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            await process.wait()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def started(self, pid: int, stop_signal: int) -> None:
        self._tell(f"+{pid} {stop_signal}")

    def ended(self, pid: int) -> None:
        self._tell(f"-{pid}")

    def _tell(self, line: str) -> None:
        # A guardian that somebody killed is missed only when we're killed too.
        with contextlib.suppress(ConnectionError, RuntimeError):
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.write(f"{line}\n".encode())
