"""Kinds of jobs for tests: what a process is told to do stands in the job's parameters."""

import asyncio
import os
from pathlib import Path
from threading import Event
from typing import Any, Literal

from sqlalchemy import text

from plumbline_analysis.jobs.kind import Kind, Report, Step, Stepwise
from plumbline_common.errors import NotFound
from plumbline_common.schemas import Schema


class Told(Schema):
    """`gathering` and `reach` are files that are written when the reading and the work have begun, which then last
    for ever; where the file is there already they go on."""

    do: Literal["answer", "fail", "die", "break"] = "answer"
    gathering: str | None = None
    reach: str | None = None


def begins(file: str | None) -> bool:
    """Whether it begins for the first time."""
    if file is None or Path(file).exists():
        return False
    # Whole or not at all: who waits for it reads it at once.
    Path(file + ".part").write_text(str(os.getpid()))
    os.replace(file + ".part", file)
    return True


async def gather(session: Any, told: Told, settings: Any) -> Told:
    if begins(told.gathering):
        await asyncio.Event().wait()
    return told


def run(told: Told, report: Report) -> dict[str, Any]:
    report(0.5, "half way")
    if begins(told.reach):
        Event().wait()
    match told.do:
        case "answer":
            return {"answer": 42}
        case "fail":
            raise NotFound("no signal has the id 7")
        case "die":
            os._exit(9)
    raise ZeroDivisionError("secret")


class Counted(Schema):
    """So many steps. `reach` is written when the work of the third begins, `storing` when the second is being
    stored: both then last for ever, where the file is not there already."""

    steps: int
    reach: str | None = None
    storing: str | None = None


async def gather_count(session: Any, counted: Counted, checkpoint: bytes | None, settings: Any) -> Any:
    return counted, int(checkpoint or b"0")


def count(inputs: tuple[Counted, int], report: Report) -> Step[Any]:
    counted, done = inputs
    if done == 2 and begins(counted.reach):
        Event().wait()
    is_last = done + 1 == counted.steps
    result = {"steps": counted.steps} if is_last else None
    return Step(inputs, (done + 1) / counted.steps, "counts", str(done + 1).encode(), result)


async def store_count(session: Any, job: Any, found: tuple[Counted, int]) -> None:
    """A second time it would fail."""
    counted, done = found
    await session.execute(text("INSERT INTO log_exports (digest) VALUES (:step)"), {"step": f"step {done}".encode()})
    if done == 1 and begins(counted.storing):
        await asyncio.Event().wait()


KINDS = {
    "told": Kind("told", Told, gather, run),
    "counted": Stepwise("counted", Counted, gather_count, count, store_count),
}
