"""The command line shows through the gateway what requirements lack."""

import asyncio
import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from plumbline_cli.main import app


async def test_coverage_is_shown_written_and_a_gate_of_a_pipeline(caller: Any, stack: Any, tmp_path: Path) -> None:
    async def plumbline(*words: str) -> Result:
        environment = {"PLUMBLINE_FOLDER": str(stack.folder), "COLUMNS": "200"}
        return await asyncio.to_thread(CliRunner().invoke, app, ["requirements", *words], env=environment)

    alice = caller("editor", subject="alice", teams=["platform"])
    for body in ({"title": "Bare"}, {"title": "Owned", "owner_team": "platform"}):
        made = await alice.post("/api/v1/requirements", json=body | {"service": "covered"})
        assert made.status_code == 201, made.text
    of = ("--service", "covered")
    shown = await plumbline("coverage", *of)
    assert shown.exit_code == 0, shown.output
    cells = next(line for line in shown.output.splitlines() if "│ covered" in line).replace("│", " ").split()
    assert cells == ["covered", "2", "0", "2", "1", "2", "0"]
    found = json.loads((await plumbline("coverage", *of, "-o", "json")).stdout)
    assert found["whole"]["without"] == {"sli": 2, "owner": 1, "verification": 2, "verdict": 0}
    assert found["items"][0]["value"] == "covered"
    assert isinstance(found["services_without_requirements"], list)

    named = await plumbline("list", "--gap", "owner", *of, "-o", "json")
    assert [each["title"] for each in json.loads(named.stdout)["items"]] == ["Bare"]

    page = tmp_path / "coverage.html"
    assert (await plumbline("coverage", *of, "--out", str(page))).exit_code == 0
    assert "<svg" in page.read_text()
    assert (await plumbline("coverage", *of, "--out", str(tmp_path / "x.pdf"))).exit_code == 2
    low = await plumbline("coverage", *of, "--fail-under", "50")
    assert (low.exit_code, "0 of 2 lack nothing" in low.output) == (1, True)
    assert (await plumbline("coverage", *of, "--fail-under", "0")).exit_code == 0
