import asyncio
import os
import sys

from plumbline_stack.orphans import end_orphans
from plumbline_stack.state import ChildState, StackState, creation_time


def earlier(*children: ChildState) -> StackState:
    return StackState(pid=1, process_started=0.0, started_at="", ready=True, ports={}, urls={}, children=children)


async def test_a_child_of_a_dead_supervisor_is_ended_and_a_stranger_is_not() -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    orphan = await asyncio.create_subprocess_exec(*sleep, start_new_session=True)
    stranger = await asyncio.create_subprocess_exec(*sleep, start_new_session=True)
    try:
        found = await end_orphans(
            earlier(
                ChildState("search", "running", orphan.pid, creation_time(orphan.pid)),
                # The same pid, but a process that started at another time.
                ChildState("nats", "running", stranger.pid, 1_000_000.0),
                ChildState("gateway", "stopped"),
            )
        )
        assert found == ["search"]
        assert await asyncio.wait_for(orphan.wait(), 5) < 0
        assert stranger.returncode is None
        os.kill(stranger.pid, 0)
    finally:
        stranger.kill()
        await stranger.wait()


async def test_without_an_earlier_stack_there_is_nothing_to_end() -> None:
    assert await end_orphans(None) == []
