"""Every command of the guides and of the example pipeline, one after another, as it stands there."""

import asyncio
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from plumbline_cli.main import app

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs" / "guides"


def lines(guide: Path) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", guide.read_text(), re.M | re.S)
    return [line for line in "".join(blocks).replace("\\\n", " ").splitlines() if line.strip()]


async def run(command: str, folder: Path, stack: Any, **environment: str) -> str:
    """What a shell prints that runs the command in `folder`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    given = os.environ | {"PATH": path, "PLUMBLINE_FOLDER": str(stack.folder), "COLUMNS": "200"} | environment
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", command, cwd=folder, env=given, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, (command, output)
    return output


@pytest.mark.long
async def test_the_guide_leads_to_a_reviewed_active_requirement(caller: Any, stack: Any) -> None:
    admin: httpx.AsyncClient = caller("admin")
    environment = {"PLUMBLINE_FOLDER": str(stack.folder), "COLUMNS": "200"}
    key = "REQ-1"
    for line in lines(GUIDES / "first-requirement.md"):
        command = shlex.split(line)
        words = [word.replace("REQ-1", key) for word in command]
        assert words[0] == "plumbline"
        result = await asyncio.to_thread(CliRunner().invoke, app, words[1:], env=environment)
        assert result.exit_code == 0, (command, result.output)
        if words[2] == "create":
            key = (await admin.get("/api/v1/requirements", params={"service": "checkout"})).json()["items"][0]["key"]
    page = (await admin.get("/api/v1/requirements", params={"key": key})).json()
    requirement = page["items"][0]
    assert (requirement["status"], requirement["in_force"], requirement["updated_by"]) == ("active", 4, "alice")
    reviews = (await admin.get(f"/api/v1/requirements/{requirement['id']}/reviews")).json()["items"]
    assert [(review["reviewer"], review["decision"]) for review in reviews] == [
        ("rita", "comment"),
        ("rita", "approve"),
    ]


@pytest.mark.long
async def test_the_guide_keeps_slos_in_git(caller: Any, stack: Any, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    told = [await run(line, tmp_path, stack) for line in lines(GUIDES / "slos-in-git.md")]
    said = "\n".join(told)
    assert "created, 0 updated, 0 unchanged; nothing was written (dry run)" in said
    assert "~ SLO checkout-availability of REQ-" in said
    assert "/spec/objectives/0/target: 0.999 → 0.9995" in said
    assert "0 created, 0 updated" in told[-2]
    page = (await caller("admin").get("/api/v1/requirements", params={"q": "Checkout answers"})).json()
    targets = [each["slos"][0]["objectives"][0]["target"] for each in page["items"] if each["slos"]]
    assert 0.9995 in targets


@pytest.mark.long
async def test_the_commands_of_the_example_pipeline_run(caller: Any, stack: Any, tmp_path: Path) -> None:
    client: httpx.AsyncClient = caller("editor", teams=["payments"])
    environment = {
        "PLUMBLINE_URL": str(client.base_url),
        "PLUMBLINE_TOKEN": client.headers["Authorization"].removeprefix("Bearer "),
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_REPOSITORY": "a/b",
        "GITHUB_SHA": "c0ffee",
    }
    pipeline = yaml.safe_load((ROOT / "examples" / "pipelines" / "slos-github.yml").read_text())
    scripts = "\n".join(step.get("run", "") for step in pipeline["jobs"]["slos"]["steps"])
    commands = re.findall(r"^\s*(plumbline .+)$", scripts, re.MULTILINE)
    assert [command.split()[2] for command in commands] == ["validate", "diff", "import", "import", "rules"]
    for place in (tmp_path / "slos", tmp_path / "base" / "slos"):
        shutil.copytree(ROOT / "examples" / "slos", place)
    for command in commands:
        await run(command, tmp_path, stack, **environment)
    assert (tmp_path / "rules.yaml").read_text().startswith("groups:")
