from pathlib import Path

import pytest

from plumbline_stack.alone import forget_events, postgres_alone
from plumbline_stack.state import AlreadyRunning
from plumbline_stack.supervisor import Stack


async def test_a_stack_that_runs_keeps_its_postgres_to_itself(stack: Stack) -> None:
    with pytest.raises(AlreadyRunning, match="stop it first"):
        async with postgres_alone(stack.folder):
            pytest.fail("it came up beside the stack")


def test_events_are_forgotten_and_nothing_else(tmp_path: Path) -> None:
    forget_events(tmp_path)  # where there are none
    kept, gone = tmp_path / "postgres", tmp_path / "nats" / "jetstream"
    for folder in (kept, gone):
        folder.mkdir(parents=True)
    forget_events(tmp_path)
    assert (kept.exists(), gone.exists()) == (True, False)
