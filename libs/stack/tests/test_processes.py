import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from plumbline_stack import processes
from plumbline_stack.processes import Command, NotReady


def python(code: str) -> Command:
    return Command([sys.executable, "-c", code])


async def test_output_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert await processes.run(python("import sys; print('out'); sys.exit('err')"), log, 20) == 1
    assert sorted(processes.tail(log).splitlines()) == ["err", "out"]


def test_the_end_of_a_log_is_told_in_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    traceback = "Traceback (most recent call last):\n  File …\nTooSlow: try again\n"
    records = [
        {"level": "error", "logger": "uvicorn.error", "message": said} for said in (traceback, "it ends\nhere")
    ]
    log.write_text("x" * 100_000 + "\n" + "\n".join(map(json.dumps, records)) + '\nFATAL: no space\n{"level": 1}\n')
    assert processes.tail(log) == 'error: TooSlow: try again\nerror: it ends\nFATAL: no space\n{"level": 1}'


async def test_a_process_that_ends_is_not_ready(tmp_path: Path) -> None:
    process = await processes.start(python("raise SystemExit(4)"), tmp_path / "log")

    async def never() -> bool:
        return False

    with pytest.raises(NotReady, match="exit code 4"):
        await processes.until_ready(process, never, 20)


@pytest.mark.parametrize(("load", "said"), [(9.5, "; the machine is busy: load 9.5 on 2 processors"), (1.5, "")])
async def test_a_process_that_takes_too_long_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: float, said: str
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    process = await processes.start(python("import time; time.sleep(60)"), tmp_path / "log")

    async def never() -> bool:
        return False

    with pytest.raises(NotReady, match=f"^it was not ready after 0 s{said}$"):
        await processes.until_ready(process, never, 0.2)
    assert await processes.stop(process, signal.SIGTERM, 10)


async def test_a_deaf_process_is_killed_with_its_children(tmp_path: Path) -> None:
    code = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
    log = tmp_path / "log"
    process = await processes.start(python(code), log)

    async def printed() -> bool:
        return log.stat().st_size > 0

    await processes.until_ready(process, printed, 20)
    grandchild = int(log.read_text())
    assert not await processes.stop(process, signal.SIGTERM, 0.2)
    async with asyncio.timeout(5):
        while True:
            try:
                if psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE:
                    break
            except psutil.NoSuchProcess:
                break
            await asyncio.sleep(0.05)


async def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="took longer"):
        await processes.run(python("import time; time.sleep(60)"), tmp_path / "log", 0.2)
