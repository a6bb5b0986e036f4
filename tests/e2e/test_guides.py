"""Every command of the guide, one after another, as it stands there."""

import asyncio
import re
import shlex
from pathlib import Path
from typing import Any

import httpx
from typer.testing import CliRunner

from plumbline_cli.main import app

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "first-requirement.md"


def commands(guide: Path) -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", guide.read_text(), re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


async def test_the_guide_leads_to_a_reviewed_active_requirement(caller: Any, stack: Any) -> None:
    admin: httpx.AsyncClient = caller("admin")
    environment = {"PLUMBLINE_FOLDER": str(stack.folder), "COLUMNS": "200"}
    key = "REQ-1"
    for command in commands(GUIDE):
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
