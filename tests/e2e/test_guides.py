"""Every command of the guide, one after another, as it stands there."""

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import httpx

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "first-requirement.md"


def commands(guide: Path) -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", guide.read_text(), re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


async def test_the_guide_leads_to_a_reviewed_active_requirement(caller: Any, stack: Any) -> None:
    admin: httpx.AsyncClient = caller("admin")
    environment = os.environ | {"PLUMBLINE_FOLDER": str(stack.folder), "COLUMNS": "200"}
    key = "REQ-1"
    for command in commands(GUIDE):
        words = [word.replace("REQ-1", key) for word in command]
        assert words[0] == "plumbline"
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "plumbline"),
            *words[1:],
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, (command, output.decode())
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
