"""What is exported as ReqIF is opened by another tool: StrictDoc, which `make strictdoc` brings."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from lifecycle import PATH, created

STRICTDOC = os.environ.get("PLUMBLINE_STRICTDOC") or shutil.which("strictdoc") or ""


@pytest.mark.skipif(not STRICTDOC, reason="StrictDoc is not here; make strictdoc brings it")
async def test_strictdoc_opens_the_export(alice: httpx.AsyncClient, tmp_path: Path) -> None:
    first = await created(
        alice,
        title='Checkout <answers> & "soon"',
        statement="When a customer checks out,\nthe shop shall answer within 300 ms.",
        labels={"tier": "1"},
        service="shop",
    )
    second = await created(alice, title="Search answers", rationale="People wait.")
    link = {"source_id": first["id"], "target_id": second["id"], "type": "refines"}
    assert (await alice.post("/api/v1/links", json=link)).status_code == 201
    export = tmp_path / "requirements.reqif"
    export.write_bytes((await alice.get(f"{PATH}/export", params={"format": "reqif"})).content)
    out = tmp_path / "sdoc"
    command = [*shlex.split(STRICTDOC), "convert", str(export), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: ASYNC221
    assert done.returncode == 0, done.stdout + done.stderr
    text = "\n".join(file.read_text() for file in out.rglob("*.sdoc"))
    for made in (first, second):
        assert f"UID: {made['key']}" in text
        assert made["title"].split()[0] in text
    assert "the shop shall answer within 300 ms." in text
    assert "People wait." in text
