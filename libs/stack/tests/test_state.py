import os
from pathlib import Path

import pytest

from plumbline_stack.state import (
    AlreadyRunning,
    ChildState,
    StackState,
    creation_time,
    emptied,
    locked,
    read_state,
    write_state,
)


def state_of(pid: int, started: float) -> StackState:
    child = ChildState("search", "running", pid=7, restarts=2)
    return StackState(pid, started, "2026-01-01T00:00:00Z", True, {"gateway": 1}, {"gateway": "http://x"}, (child,))


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = state_of(os.getpid(), creation_time(os.getpid()) or 0)
    write_state(tmp_path, written)
    read = read_state(tmp_path)
    assert read is not None
    assert read.running
    assert read.children == written.children
    assert (read.ports, read.urls) == (written.ports, written.urls)


def test_a_stack_whose_process_is_gone_or_another_does_not_run(tmp_path: Path) -> None:
    write_state(tmp_path, state_of(os.getpid(), 1.0))
    read = read_state(tmp_path)
    assert read is not None
    assert not read.running


@pytest.mark.parametrize("content", ["", "{", "[]", '{"children": 1}', '{"children": [{"unknown": 1}]}'])
def test_a_broken_state_is_no_state(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    assert read_state(tmp_path) is None


def test_a_folder_is_locked_by_one_and_free_again_after(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(AlreadyRunning), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_folder_is_emptied_by_who_holds_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (folder := tmp_path / "stack").mkdir()
    outside.mkdir()
    with locked(folder):
        (folder / "state.json").write_text("{}")
        (folder / "secrets").mkdir()
        (folder / "secrets" / "fault").write_text("x")
        (folder / "postgres").symlink_to(outside)
        emptied(folder)
        with pytest.raises(AlreadyRunning), locked(folder):
            pass
    assert [path.name for path in folder.iterdir()] == ["lock"]
    assert outside.exists()
