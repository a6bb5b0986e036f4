"""What a running stack writes about itself for other processes: `state.json` in its folder, and the lock."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from plumbline_stack.credentials import write_private

FILE = "state.json"
_LOCK = "lock"


class AlreadyRunning(Exception):
    """Another process runs a stack on this folder. `pid` is None where it couldn't be told."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        by = f" by process {pid}" if pid else ""
        super().__init__(f"a stack already runs in {folder}{by}: stop it first, or choose another folder")
        self.folder = folder
        self.pid = pid


@dataclass(frozen=True)
class ChildState:
    """A child process. `status` is stopped, starting, running or restarting; times are RFC 3339 UTC."""

    name: str
    status: str
    pid: int | None = None
    process_started: float | None = None
    """psutil's creation time: with the pid it names a process for good."""
    stop_signal: int = 15
    port: int | None = None
    url: str | None = None
    started_at: str | None = None
    restarts: int = 0
    last_exit: str | None = None
    log: str | None = None


@dataclass(frozen=True)
class StackState:
    """A stack. `urls` hold no passwords. `running` is judged by the reader, not written."""

    pid: int
    process_started: float
    started_at: str
    ready: bool
    ports: Mapping[str, int]
    urls: Mapping[str, str]
    children: tuple[ChildState, ...] = field(default=())
    running: bool = False


def write_state(folder: Path, state: StackState) -> None:
    """Whole or not at all: readers never see half a file."""
    content = {key: value for key, value in asdict(state).items() if key != "running"}
    write_private(folder / FILE, json.dumps(content, indent=2).encode())


def read_state(folder: Path) -> StackState | None:
    """The last state that a stack wrote in `folder`, or None where there was none or it can't be read."""
    try:
        content: dict[str, Any] = json.loads((folder / FILE).read_text())
        children = tuple(ChildState(**child) for child in content.pop("children"))
        state = StackState(**content, children=children)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    alive = is_alive(state.pid, state.process_started)
    return StackState(**{**state.__dict__, "running": alive})


def is_alive(pid: int | None, started: float | None) -> bool:
    """Whether `pid` is still the process that started then, and not another with the same number."""
    if pid is None or started is None:
        return False
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def creation_time(pid: int) -> float | None:
    """None where the process is gone."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder for this process. Raises AlreadyRunning where another has it.

    The kernel frees the lock with the process, however that ends.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            state = read_state(folder)
            raise AlreadyRunning(folder, state.pid if state and state.running else None) from None
        yield
    finally:
        os.close(descriptor)


def emptied(folder: Path) -> None:
    """Removes all that `folder` holds. Only for who has it `locked`."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()
