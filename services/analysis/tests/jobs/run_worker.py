"""Worker processes of jobs of the kind `told`: one for each line of standard input, forked when all is imported.

A line is a word for what the worker lives for, and its health file. The settings come by the environment, as for the
real one. Each worker's process id is a line of standard output.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop

from job_kinds import KINDS
from plumbline_analysis.job_worker.process import serve
from plumbline_analysis.job_worker.worker import JobWorker
from plumbline_analysis.settings import Settings

_written = JobWorker._written


async def written_at_last(worker: JobWorker, session: Any, *of: Any) -> str:
    """Die as soon as the result is there for good."""
    await _written(worker, session, *of)
    await session.commit()
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def main() -> None:
    for line in sys.stdin:
        lives_for, health_file = line.split()
        if pid := os.fork():
            print(pid, flush=True)  # noqa: T201
            continue
        os.dup2(2, 1)  # its log is not for who reads the ids
        if lives_for == "a-result":
            JobWorker._written = written_at_last  # type: ignore[method-assign, assignment]
        uvloop.run(serve(Settings(), KINDS, 1, Path(health_file)))
        os._exit(0)


if __name__ == "__main__":
    main()
