"""Ends what an earlier stack on the same folder left running, should its guardian have been killed too."""

import asyncio
import contextlib
import os
import signal

from plumbline_stack.processes import kill_group
from plumbline_stack.state import ChildState, StackState, is_alive

_DEADLINE = 10.0


async def end_orphans(earlier: StackState | None) -> list[str]:
    """The names of the children that still ran. Only processes that are provably the recorded ones are ended."""
    found = [child for child in (earlier.children if earlier else ()) if _lives(child)]
    for child in reversed(found):
        await _end(child)
    return [child.name for child in found]


def _lives(child: ChildState) -> bool:
    return is_alive(child.pid, child.process_started)


async def _end(child: ChildState) -> None:
    assert child.pid is not None
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, signal.Signals(child.stop_signal))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DEADLINE):
            while _lives(child):  # noqa: ASYNC110 - another's child tells us nothing of its end
                await asyncio.sleep(0.05)
    kill_group(child.pid)
