"""Kinds of jobs for tests: what a process is told to do stands in the job's parameters."""

import asyncio
import os
from pathlib import Path
from threading import Event
from typing import Any, Literal

from plumbline_analysis.jobs.kind import Kind, Report
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


KINDS = {"told": Kind("told", Told, gather, run)}
