"""The command line takes files in and out through the gateway."""

import asyncio
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from plumbline_cli.main import app


@pytest.mark.parametrize("suffix", ["csv", "json", "ndjson", "reqif"])
async def test_files_go_round(stack: Any, tmp_path: Path, suffix: str) -> None:
    async def plumbline(*words: str) -> Result:
        who = ["--as", "iris", "--team", "payments"]
        environment = {"PLUMBLINE_FOLDER": str(stack.folder), "COLUMNS": "200"}
        return await asyncio.to_thread(CliRunner().invoke, app, ["requirements", *words, *who], env=environment)

    service = f"interchange-{suffix}"
    source = tmp_path / "new.csv"
    with source.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("title", "service", "description"), ("=One", service, "a\nb"), ("Two", service, "")]
        )
    dry = await plumbline("import", str(source), "--dry-run")
    assert (dry.exit_code, "2 created" in dry.output, "nothing was written (dry run)" in dry.output) == (
        0,
        True,
        True,
    )
    made = await plumbline("import", str(source), "--reason", "moved")
    assert (made.exit_code, "+ =One" in made.output, "2 created, 0 updated" in made.output) == (0, True, True)

    out = tmp_path / f"out.{suffix}"
    wrote = await plumbline("export", "--out", str(out), "--service", service)
    assert wrote.exit_code == 0, wrote.output
    same = await plumbline("import", str(out), "--output", "json")
    assert json.loads(same.stdout) == {
        "written": True, "dry_run": False, "read": 2, "created": 0, "updated": 0, "unchanged": 2, "faults": 0,
        "links": {"created": 0, "unchanged": 0, "passed_over": 0},
    }  # fmt: skip
    report = tmp_path / "report.html"
    assert (await plumbline("export", "--out", str(report), "--service", service)).exit_code == 0
    assert "=One</h2>" in report.read_text()

    source.write_text("title,colour\nx,red\n")
    wrong = await plumbline("import", str(source))
    assert (wrong.exit_code, f"{source}:1: error: / there is no column" in wrong.output) == (2, True)
