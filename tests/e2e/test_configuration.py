"""A service that is configured wrongly stops at its start, and says why in a line."""

import asyncio
import os
import sys

import pytest

PROGRAMS = {
    "requirements": ("uvicorn", "plumbline_requirements.main:create_app", "--factory", "--port", "0"),
    "analysis, its worker": ("plumbline_analysis.job_worker",),
}


@pytest.mark.parametrize("program", PROGRAMS)
async def test_what_is_missing_stops_it_with_one_line(program: str) -> None:
    prefix = f"PLUMBLINE_{program.partition(',')[0].upper()}_"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLUMBLINE_")}
    given = {"DATABASE_URL": "postgresql+asyncpg://role:secret@127.0.0.1/plumbline", "JWKS_URI": "file:///jwks.json"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *PROGRAMS[program],
        env=environment | {f"{prefix}{name}": value for name, value in given.items()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    example = f"{prefix}NATS_URL=nats://user:password@host:4222"
    assert said.decode().splitlines() == [f"{prefix}NATS_URL is not set; for example {example}"]
    assert process.returncode == 1
