"""Runbooks of a folder are found from the command line, as the folder is, and a ranking is judged by judgements."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from plumbline_cli.main import app

Plumbline = Callable[..., Awaitable[Result]]


@pytest.fixture
def environment(stack: Any) -> dict[str, str]:
    return {"PLUMBLINE_FOLDER": str(stack.folder), "COLUMNS": "200"}


@pytest.fixture
def plumbline(environment: dict[str, str]) -> Plumbline:
    async def plumbline(*words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["search", *words], env=environment)

    return plumbline


@pytest.fixture
def runbooks(tmp_path: Path) -> Path:
    folder = tmp_path / "runbooks"
    (folder / "db").mkdir(parents=True)
    (folder / "db" / "disk full.md").write_text(
        "---\ntitle: Disk full\nservice: warehouse\nfacets: {severity: critical, minutes: 15}\n---\n"
        "# Impact\nWrites fail.\n# Mitigation\nDelete old logs with `logrotate --force`.\n"
    )
    (folder / "queue.md").write_text("# Queue grows\n\nConsumers are too slow; add workers to the quokka pool.\n")
    (folder / "notes.txt").write_text("not Markdown")
    return folder


def counted(result: Result) -> dict[str, int]:
    return {name: count for name, count in json.loads(result.stdout).items() if count}


async def found(plumbline: Plumbline, query: str, *options: str) -> list[str]:
    result = await plumbline(query, "-o", "json", *options)
    assert result.exit_code == 0, result.output
    return [hit["external_id"] for hit in json.loads(result.stdout)["items"]]


@pytest.mark.long
async def test_the_index_is_built_anew_while_all_is_found(plumbline: Plumbline, runbooks: Path) -> None:
    await plumbline("index", str(runbooks), "--prefix", "anew")
    built = await plumbline("reindex", "-o", "json")
    assert built.exit_code == 0, built.output
    status = json.loads(built.stdout)
    assert status["building"] is None
    assert status["live"]["done"] >= 2
    assert "anew/queue.md" in await found(plumbline, "quokka", "--leg", "lexical")
    again = await plumbline("reindex", "--cancel")
    assert again.exit_code == 3
    checked = json.loads((await plumbline("reindex", "--check", "-o", "json")).stdout)
    assert checked["missing"] == 0
    assert {each["missing"] for each in checked["producers"]} == {0}
    for file in runbooks.rglob("*.md"):
        file.unlink()
    gone = await plumbline("index", str(runbooks), "--prefix", "anew", "--prune", "-o", "json")
    assert counted(gone) == {"deleted": 2}


async def test_a_folder_of_markdown_is_found_as_it_is(plumbline: Plumbline, runbooks: Path) -> None:
    index = ("index", str(runbooks), "--prefix", "ops", "--base-url", "https://git.example.org/ops", "-o", "json")
    first = await plumbline(*index)
    assert (first.exit_code, counted(first)) == (0, {"created": 2}), first.output
    assert counted(await plumbline(*index)) == {"unchanged": 2}

    shown = await plumbline("the logs fill the disk", "--kind", "runbook", "--service", "warehouse")
    assert shown.exit_code == 0, shown.output
    assert "Disk full" in shown.output
    assert "Delete old logs with `logrotate --force`" in shown.output
    assert "https://git.example.org/ops/db/disk%20full.md" in shown.output
    assert "1 of 1 in " in shown.output
    assert await found(plumbline, "disk", "--where", "severity=critical", "--where", "minutes=15") == [
        "ops/db/disk_full.md"
    ]
    assert (await plumbline("disk", "--where", "severity")).exit_code == 2
    helped = await plumbline("logrtate", "--leg", "lexical", "--service", "warehouse")
    assert "logrtate is nowhere; looked for logrot" in helped.output
    helped = await plumbline("disk", "--service", "warehouse", "--kind", "postmortem")
    assert "without --kind there are 1" in helped.output
    helped = await plumbline('"logs disk"', "--service", "warehouse")
    assert "no document holds “logs disk”; looked for its words" in helped.output
    assert (await plumbline("disk", "--where", "colour=red")).exit_code == 2

    (runbooks / "queue.md").unlink()
    (runbooks / "bad.md").write_text("---\n{\n---\n# x")
    pruned = await plumbline(*index, "--prune")
    assert (pruned.exit_code, counted(pruned)) == (1, {"failed": 1, "unchanged": 1, "deleted": 1})
    assert "bad.md: front matter" in pruned.stderr
    assert await found(plumbline, "quokka", "--leg", "lexical", "--kind", "runbook") == []


async def test_a_watched_folder_stays_found_as_it_is(
    plumbline: Plumbline, runbooks: Path, environment: dict[str, str]
) -> None:
    async def until_found(query: str, expected: list[str]) -> None:
        async with asyncio.timeout(30):
            while await found(plumbline, query, "--leg", "lexical", "--kind", "runbook") != expected:
                await asyncio.sleep(0.2)

    watcher = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("plumbline")),
        *("search", "index", str(runbooks), "--prefix", "watched", "--watch"),
        env=os.environ | environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert watcher.stderr is not None
        async with asyncio.timeout(30):
            while b"watching" not in await watcher.stderr.readline():
                pass
        await until_found("quokka", ["watched/queue.md"])
        (runbooks / "queue.md").write_text("# Queue grows\n\nAdd workers to the wombat pool.\n")
        await until_found("wombat", ["watched/queue.md"])
        await until_found("quokka", [])
        (runbooks / "new.md").write_text("# New\n\nThe echidna service restarts.\n")
        await until_found("echidna", ["watched/new.md"])
        (runbooks / "new.md").unlink()
        await until_found("echidna", [])
    finally:
        watcher.send_signal(signal.SIGINT)
        assert await watcher.wait() == 130


async def test_duplicates_are_suspected_as_they_are_written(
    plumbline: Plumbline, caller: Any, stranger: Any, until: Any
) -> None:
    alice = caller("editor", teams=["payments"])
    written = []
    for title in ("The armadillo checkout answers fast", "A fast answer of the armadillo checkout"):
        statement = "When a customer pays, the armadillo checkout shall answer within 300 ms."
        body = {"title": title, "statement": statement, "service": "armadillo", "owner_team": "payments"}
        written.append((await alice.post("/api/v1/requirements", json=body)).raise_for_status().json())

    async def suspected() -> Any:
        return [each for made in written for each in stranger.told("search.duplicate.suspected.v1", made["id"])]

    heard = (await until(suspected, 20, "a subscriber hears of the suspected duplicates"))[-1]
    (pair,) = heard.body["pairs"]
    assert pair["same_service"] is True
    assert pair["similarity"] > 0.83
    assert "armadillo" in pair["shared_words"]
    like = await plumbline("similar", written[0]["key"], "--kind", "requirement", "-o", "json")
    assert like.exit_code == 0, like.output
    first = json.loads(like.stdout)["items"][0]
    assert (first["key"], first["suspected_duplicate"]) == (written[1]["key"], True)
    assert "duplicate?" in (await plumbline("similar", written[1]["key"])).output
    assert stranger.misfits() == []


async def test_a_saved_search_tells_what_comes(
    plumbline: Plumbline, runbooks: Path, stranger: Any, until: Any
) -> None:
    saved = await plumbline(
        *("saved", "add", "Quokka trouble", "quokka pool", "--owner-team", "payments", "--team", "payments"),
        *("--kind", "runbook", "-o", "json"),
    )
    assert saved.exit_code == 0, saved.output
    id = json.loads(saved.stdout)["id"]
    assert "Quokka trouble" in (await plumbline("saved", "list")).output
    await plumbline("index", str(runbooks), "--prefix", "told")

    async def told() -> Any:
        return stranger.told("search.search.matched.v1", id)

    (heard,) = await until(told, 20, "a subscriber hears of the runbook")
    assert (heard.body["external_id"], heard.body["team"]) == ("told/queue.md", "payments")
    assert stranger.misfits() == []
    assert (await plumbline("saved", "delete", id, "--team", "payments")).exit_code == 0
    for file in runbooks.rglob("*.md"):
        file.unlink()
    await plumbline("index", str(runbooks), "--prefix", "told", "--prune")


async def test_a_ranking_is_judged_by_what_people_accepted(plumbline: Plumbline, runbooks: Path, caller: Any) -> None:
    assert (await plumbline("eval")).exit_code == 2
    await plumbline("index", str(runbooks), "--prefix", "judged")
    found_there = json.loads((await plumbline("quokka pool too slow", "-o", "json")).stdout)["items"]
    rank, hit = next(
        (rank, hit) for rank, hit in enumerate(found_there, 1) if hit["external_id"] == "judged/queue.md"
    )
    given = {"query": "quokka pool too slow", "kind": "runbook", "entity_id": hit["entity_id"], "action": "accepted"}
    answer = await caller("viewer").post("/api/v1/search/feedback", json=given | {"rank": rank})
    assert answer.status_code == 201, answer.text
    judged = await plumbline("eval", "--feedback", "-o", "json")
    assert judged.exit_code == 0, judged.output
    assert json.loads(judged.stdout)["queries"] >= 1
    for file in runbooks.rglob("*.md"):
        file.unlink()
    await plumbline("index", str(runbooks), "--prefix", "judged", "--prune")


async def test_a_ranking_is_judged_and_the_collection_removed_again(plumbline: Plumbline, tmp_path: Path) -> None:
    texts = {"a": "The pelican disk is full.", "b": "The pelican queue grows.", "c": "Certificates expire."}
    rows = [json.dumps({"_id": id, "text": text}) for id, text in texts.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(rows))
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "no space left on the pelican disk"}')
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n")
    judged = await plumbline("eval", str(tmp_path), "-o", "json")
    assert judged.exit_code == 0, judged.output
    measured = json.loads(judged.stdout)
    assert (measured["documents"], measured["queries"]) == (3, 1)
    perfect = {"ndcg@10": 1.0, "mrr@10": 1.0, "recall@100": 1.0}
    assert measured["figures"] == dict.fromkeys(("lexical", "vector", "fused by ranks", "fused by scores"), perfect)
    assert await found(plumbline, "pelican", "--leg", "lexical") == []
    table = await plumbline("eval", str(tmp_path))
    assert "fused by scores" in table.output
    (tmp_path / "qrels.tsv").unlink()
    assert (await plumbline("eval", str(tmp_path))).exit_code == 2
