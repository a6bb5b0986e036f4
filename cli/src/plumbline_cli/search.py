"""`plumbline search`: ask, index folders of Markdown, judge the ranking by one's own judgements."""

import asyncio
import contextlib
import html
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer
import yaml
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from plumbline_cli import evaluation, requirements, shell
from plumbline_cli.client import Gateway
from plumbline_cli.shell import Caller, Code, calling, console, errors, fail

DOCUMENTS = "/api/v1/documents"
REINDEX = "/api/v1/reindex"
SAVED = "/api/v1/saved-searches"
JUDGEMENTS = "/api/v1/search/feedback/judgements"
_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n", re.DOTALL)
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_RESULTS = ("created", "updated", "unchanged", "deleted", "failed")
_OPTIONS = {"kinds": "--kind", "service": "--service", "team": "--owner-team", "filter": "--where"}
_SPLIT = re.compile(r"</?mark>")


class Kind(StrEnum):
    REQUIREMENT = "requirement"
    ANOMALY = "anomaly"
    INCIDENT = "incident"
    RUNBOOK = "runbook"
    POSTMORTEM = "postmortem"
    LOG_TEMPLATE = "log_template"


class _AskedByDefault(TyperGroup):
    """`plumbline search "slow checkout"` is `plumbline search ask "slow checkout"`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", *ctx.help_option_names):
            args = ["ask", *args]
        rest: list[str] = super().parse_args(ctx, args)
        return rest


app = typer.Typer(
    cls=_AskedByDefault,
    no_args_is_help=True,
    help='Find requirements, anomalies and runbooks: plumbline search "checkout slow after deploy".',
)


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def ask(
    caller: Caller,
    query: str,
    kind: Annotated[list[Kind] | None, typer.Option(help="Repeatable: any of them")] = None,
    service: Annotated[str | None, typer.Option()] = None,
    owner_team: Annotated[str | None, typer.Option(help="Whose it is")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="FACET=VALUE", help="Repeatable: all must match, such as severity=critical"),
    ] = None,
    leg: Annotated[Literal["lexical", "vector"] | None, typer.Option(help="By words or by meaning alone")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say what each score is made of")] = False,
    skip: shell.Skip = 0,
    limit: shell.Limit = 10,
    output: shell.Format = "table",
) -> None:
    """Find requirements, anomalies and runbooks by words and by meaning."""
    given = {"kinds": kind, "service": service, "team": owner_team, "legs": [leg] if leg else None}
    request: dict[str, Any] = {name: value for name, value in given.items() if value}
    if explain:
        request["explain"] = True
    if where:
        request["filter"] = {"and": [_condition(each) for each in where]}
    found = caller.ask(lambda gateway: gateway.search(query, limit, skip=skip, **request))
    if output != "table":
        shell.write(found, output)
        return
    for hit in found["items"]:
        console.print(_hit(hit), soft_wrap=True)
    for left in found["left_out"]:
        errors.print(shell.text(f"the {left['leg']} leg could not be asked: {left['reason']}"))
    for word, alike in found["corrections"].items():
        console.print(shell.text(f"{word} is nowhere; looked for {', '.join(alike)} too"))
    for phrase in found["ignored"]:
        console.print(shell.text(f"no document holds “{phrase}”; looked for its words"))
    for suggestion in found["suggestions"]:
        console.print(f"without {_OPTIONS[suggestion['without']]} there are {suggestion['total']:,}")
    total = f"{'' if found['total_is'] == 'exact' else 'at least '}{found['total']:,}"
    console.print(f"[dim]{len(found['items'])} of {total} in {found['took_ms']['total']:.0f} ms[/]")
    if explanation := found["explanation"]:
        by = explanation["selected_by"]
        candidates = f"{explanation['lexical_candidates']} by words, {explanation['vector_candidates']} by meaning"
        console.print(f"[dim]{candidates}{f', selected by {by}' if by else ''}; model {explanation['model']}[/]")


def _condition(given: str) -> dict[str, Any]:
    facet, equals, value = given.partition("=")
    if not equals:
        fail(f"{given}: say FACET=VALUE", Code.USAGE)
    with contextlib.suppress(ValueError):
        if not isinstance(number := json.loads(value), str | list | dict | None):
            return {"facet": facet, "in": [value, number]}
    return {"facet": facet, "in": [value]}


def _hit(hit: dict[str, Any]) -> Text:
    said = [hit["kind"], *(value for value in (hit["service"], hit["state"], hit["external_id"]) if value)]
    shown = Text.assemble(
        (f"{hit['score']:.2f} ", "cyan"),
        (f"{shell.text(hit['key'])} " if hit["key"] else "", "bold"),
        _marked(hit["highlights"]["title"]),
        (f"  {shell.text(' · '.join(said))}", "dim"),
    )
    for fragment in hit["highlights"]["fragments"]:
        shown.append("\n     ")
        shown.append_text(_marked(" ".join(fragment.split())))
    if hit["url"]:
        shown.append(f"\n     {shell.text(hit['url'])}", "blue")
    if explained := hit["explanation"]:
        terms = " ".join(f"{each['term']} {each['score']:.2f}" for each in explained["terms"])
        parts = "  ".join(f"{name} {value:+.3f}" for name, value in (explained["parts"] or {}).items())
        shown.append(f"\n     {parts}  words: {shell.text(terms or 'none')}", "dim")
    return shown


def _marked(fragment: str) -> Text:
    """HTML with `<mark>` as text with colours."""
    parts = (str(shell.text(html.unescape(part))) for part in _SPLIT.split(fragment))
    return Text.assemble(*((part, "bold yellow" if number % 2 else "") for number, part in enumerate(parts)))


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def similar(
    caller: Caller,
    key: Annotated[str, typer.Argument(help="REQ-42, an id, or runbook/its-id")],
    kind: Annotated[list[Kind] | None, typer.Option(help="Repeatable: any of them")] = None,
    service: Annotated[str | None, typer.Option()] = None,
    skip: shell.Skip = 0,
    limit: shell.Limit = 10,
    output: shell.Format = "table",
) -> None:
    """What is like a requirement, an anomaly, a runbook; past anomalies with how they ended."""
    if key.partition("/")[0] in ("runbook", "postmortem"):
        id = caller.get(f"{DOCUMENTS}/{quote(key)}")["id"]
    else:
        id = requirements.id_of(caller, key)
    found = caller.get(
        f"{DOCUMENTS}/{quote(id, safe='')}/similar", kind=kind, service=service, skip=skip, limit=limit
    )
    if output != "table":
        shell.write(found, output)
        return
    table = Table(caption=f"{len(found['items'])} of {found['total']:,}")
    for column in ("like", "", "title", "service", "state", "shared"):
        table.add_column(column)
    for item in found["items"]:
        name = item["key"] or item["external_id"] or item["entity_id"]
        state = item["state"] or ""
        if ended := item["ended"]:
            state += f" after {ended['minutes']:g} min" if ended["minutes"] is not None else ""
        if item["suspected_duplicate"]:
            state += " duplicate?"
        said = (name, item["title"], item["service"] or "", state, " ".join(item["shared_words"][:6]))
        table.add_row(f"{item['similarity']:.2f}", *map(shell.text, said))
    console.print(table)


# --- Saved searches -------------------------------------------------------------------------------------

saved = typer.Typer(no_args_is_help=True, help="What a team wants to be told of when it comes.")
app.add_typer(saved, name="saved")


@saved.command("add", epilog=shell.EXIT_CODES)
@calling("editor")
def saved_add(
    caller: Caller,
    name: str,
    query: Annotated[str | None, typer.Argument(help="A document must hold every word")] = None,
    owner_team: Annotated[str, typer.Option(help="Whose it is")] = "",
    kind: Annotated[list[Kind] | None, typer.Option(help="Repeatable: any of them")] = None,
    service: Annotated[str | None, typer.Option()] = None,
    where: Annotated[list[str] | None, typer.Option(metavar="FACET=VALUE", help="Repeatable: all must match")] = None,
    output: shell.Format = "table",
) -> None:
    """Have each document told, once, that comes from now on and matches: the event search.search.matched."""
    if not owner_team:
        fail("say whose it is with --owner-team", Code.USAGE)
    given: dict[str, Any] = {"team": owner_team, "name": name, "query": query, "kinds": kind, "service": service}
    if where:
        given["filter"] = {"and": [_condition(each) for each in where]}
    content = {member: value for member, value in given.items() if value}
    made = caller.ask(lambda gateway: gateway.posted(SAVED, content))
    if output != "table":
        shell.write(made, output)
        return
    console.print(shell.text(f"saved {made['id']}"))


@saved.command("list", epilog=shell.EXIT_CODES)
@calling("viewer")
def saved_list(
    caller: Caller,
    owner_team: Annotated[str | None, typer.Option(help="Whose they are")] = None,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    output: shell.Format = "table",
) -> None:
    """What teams want to be told of."""
    found = caller.get(SAVED, team=owner_team, skip=skip, limit=limit)
    if output != "table":
        shell.write(found, output)
        return
    table = Table(caption=f"{len(found['items'])} of {found['total']:,}")
    for column in ("id", "team", "name", "looks for"):
        table.add_column(column)
    for item in found["items"]:
        asked = {name: item[name] for name in ("query", "kinds", "service", "filter") if item[name]}
        looks_for = asked.pop("query", "")
        rest = json.dumps(asked, ensure_ascii=False) if asked else ""
        table.add_row(*map(shell.text, (item["id"], item["team"], item["name"], f"{looks_for} {rest}".strip())))
    console.print(table)


@saved.command("delete", epilog=shell.EXIT_CODES)
@calling("editor")
def saved_delete(caller: Caller, id: str) -> None:
    """Tell nothing more of it."""
    caller.ask(lambda gateway: gateway.send("DELETE", f"{SAVED}/{quote(id, safe='')}"))


# --- Folders of Markdown --------------------------------------------------------------------------------


@app.command(epilog=shell.EXIT_CODES)
@calling("editor")
def index(
    caller: Caller,
    path: Annotated[Path, typer.Argument(help="A folder of Markdown", exists=True, file_okay=False)],
    kind: Annotated[Literal["runbook", "postmortem"], typer.Option()] = "runbook",
    service: Annotated[str | None, typer.Option(help="Where the front matter names none")] = None,
    owner_team: Annotated[str | None, typer.Option(help="Where the front matter names none")] = None,
    prefix: Annotated[
        str | None, typer.Option(help="Before each path in the ids; default: the folder's name")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Where the folder is read, such as https://git.example.org/ops/")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove what was indexed and has no file any more")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on: index what changes, remove what goes")] = False,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print")] = "text",
) -> None:
    """Index the Markdown files of a folder as runbooks or postmortems.

    A file's title is its first heading. Front matter (YAML between lines of ---) may name title, service, team,
    state, url, readers and facets. What has not changed is not touched.
    """
    folder = _Folder(path, kind, prefix or path.resolve().name, base_url, {"service": service, "team": owner_team})
    sums = asyncio.run(_index(caller, folder, prune, watch, output))
    if output == "json":
        typer.echo(json.dumps({name: sums[name] for name in _RESULTS}))
    if sums.get("failed"):
        raise typer.Exit(Code.FAILED)


class _Folder:
    def __init__(
        self, path: Path, kind: str, prefix: str, base_url: str | None, defaults: dict[str, str | None]
    ) -> None:
        self.path = path
        self.kind = kind
        self.prefix = prefix.strip("/")
        self._base_url = base_url
        self._defaults = {name: value for name, value in defaults.items() if value}

    def files(self) -> list[Path]:
        return sorted(file for file in self.path.rglob("*.md") if file.is_file())

    def name(self, file: Path) -> str:
        """The external id: the path, as ids may be written."""
        relative = file.relative_to(self.path).as_posix()
        return re.sub(r"[^A-Za-z0-9._/@:+=-]", "_", f"{self.prefix}/{relative}")

    def put(self, file: Path) -> dict[str, Any]:
        """Raises `ValueError` where the file cannot be read as Markdown with front matter."""
        body = file.read_text(encoding="utf-8")
        said: dict[str, Any] = {}
        if front := _FRONT_MATTER.match(body):
            try:
                said = yaml.safe_load(front[1]) or {}
            except yaml.YAMLError as error:
                raise ValueError(f"front matter: {error}") from None
            if not isinstance(said, dict):
                raise ValueError("front matter must be names with values")
            body = body[front.end() :]
        heading = _HEADING.search(body)
        content = {"title": (heading[1] if heading else file.stem)[:500], "body": body} | self._defaults
        if self._base_url:
            content["url"] = f"{self._base_url.rstrip('/')}/{quote(file.relative_to(self.path).as_posix())}"
        known = ("title", "service", "team", "state", "url", "readers", "facets")
        content |= {name: said[name] for name in known if said.get(name) is not None}
        return {"op": "put", "kind": self.kind, "external_id": self.name(file), "content": content}

    def delete(self, external_id: str) -> dict[str, Any]:
        return {"op": "delete", "kind": self.kind, "external_id": external_id}


async def _index(caller: Caller, folder: _Folder, prune: bool, watch: bool, output: str) -> Counter[str]:
    sums: Counter[str] = Counter()
    async with caller.gateway() as gateway:
        files = folder.files()
        lines, unread = _lines(folder, files)
        sums["failed"] += unread
        if prune:
            there = {folder.name(file) for file in files}
            kept = await _indexed(gateway, folder)
            lines += [folder.delete(external_id) for external_id in kept if external_id not in there]
        sums += await _send(gateway, lines, output)
        _say(sums, output)
        if watch:
            errors.print(f"watching {folder.path}; Ctrl-C ends it")
            await _watch(caller, folder, output)
    return sums


def _lines(folder: _Folder, files: Iterable[Path]) -> tuple[list[dict[str, Any]], int]:
    """What is to be sent of the files, and how many cannot be read."""
    lines, unread = [], 0
    for file in files:
        try:
            lines.append(folder.put(file))
        except (OSError, ValueError) as error:
            unread += 1
            errors.print(Text.assemble(("✗ ", "bold red"), f"{file}: {error}"), soft_wrap=True)
    return lines, unread


async def _indexed(gateway: Gateway, folder: _Folder) -> list[str]:
    found: list[str] = []
    skip = 0
    while page := (await gateway.get(DOCUMENTS, kind=folder.kind, skip=skip, limit=shell.PAGE))["items"]:
        found += [item["external_id"] for item in page if item["external_id"].startswith(f"{folder.prefix}/")]
        skip += len(page)
    return found


async def _send(gateway: Gateway, lines: list[dict[str, Any]], output: str) -> Counter[str]:
    """The sums of the results; a line that is refused is told."""
    sums: Counter[str] = Counter()
    if not lines:
        return sums
    columns = (TextColumn("indexes"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=errors, transient=True, disable=output == "json") as shown:
        task = shown.add_task("", total=len(lines))
        async for raw in gateway.lines(
            f"{DOCUMENTS}/lines",
            "POST",
            content=_encoded(lines),
            headers={"Content-Type": "application/x-ndjson"},
        ):
            result = json.loads(raw)
            if "index" not in result:
                continue
            shown.advance(task)
            sums[result.get("result", "failed")] += 1
            if problem := result.get("problem"):
                name = lines[result["index"]]["external_id"]
                where = "".join(f" {each.get('pointer', '')}" for each in problem.get("errors", []))
                errors.print(Text.assemble(("✗ ", "bold red"), f"{name}:{where} {problem['detail']}"), soft_wrap=True)
    return sums


async def _encoded(lines: Iterable[dict[str, Any]]) -> AsyncIterator[bytes]:
    for line in lines:
        yield json.dumps(line).encode() + b"\n"


async def _watch(caller: Caller, folder: _Folder, output: str) -> None:
    from watchfiles import Change, awatch

    async for changes in awatch(folder.path, recursive=True, step=200):
        changed = {Path(name) for change, name in changes if name.endswith(".md") and change is not Change.deleted}
        gone = {Path(name) for change, name in changes if name.endswith(".md")} - changed
        root = folder.path.resolve()
        present = sorted(folder.path / file.resolve().relative_to(root) for file in changed if file.is_file())
        lines, _ = _lines(folder, present)
        lines += [folder.delete(folder.name(folder.path / file.relative_to(root))) for file in sorted(gone)]
        # A token of the local stack ends before a watch does: each time a new one.
        async with caller.gateway() as gateway:
            _say(await _send(gateway, lines, output), output)


def _say(sums: Counter[str], output: str) -> None:
    if output == "text":
        console.print(", ".join(f"{sums[name]} {name}" for name in _RESULTS if sums[name]) or "nothing to index")


# --- The index itself -----------------------------------------------------------------------------------


@app.command(epilog=shell.EXIT_CODES)
@calling("admin")
def reindex(
    caller: Caller,
    status: Annotated[bool, typer.Option("--status", help="Only say how things stand")] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare with the documents and the producers")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give up what is built")] = False,
    output: shell.Format = "table",
) -> None:
    """Build the index anew beside the live one, and swap it in: searches are answered all the while.

    What is built goes on where this command ends; --status tells.
    """
    if cancel:
        caller.ask(lambda gateway: gateway.send("DELETE", REINDEX))
        return
    if check:
        shell.write(
            caller.ask(lambda gateway: gateway.posted(f"{REINDEX}/check")), output if output != "table" else "yaml"
        )
        return
    shown = caller.get(REINDEX) if status else asyncio.run(_reindex(caller, output))
    if output != "table":
        shell.write(shown, output)
        return
    table = Table(caption=f"{shown['documents']:,} documents")
    for column in ("state", "id", "model", "built in", "asked by", "changed"):
        table.add_column(column)
    for index in filter(None, (shown["live"], shown["building"])):
        changed = shell.moment(index["changed_at"])
        said = (index["state"], str(index["id"]), index["model"], f"{index['done']:,}", index["asked_by"], changed)
        table.add_row(*(shell.text(each) for each in said))
    console.print(table)


async def _reindex(caller: Caller, output: str) -> Any:
    columns = (TextColumn("builds"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=errors, transient=True, disable=output != "table") as shown:
        async with caller.gateway() as gateway:
            status = await gateway.posted(REINDEX)
        task = shown.add_task("", total=status["documents"])
        while building := status["building"]:
            shown.update(task, total=status["documents"], completed=min(building["done"], status["documents"]))
            await asyncio.sleep(0.5)
            # A token of the local stack may end before a large index is built.
            async with caller.gateway() as gateway:
                status = await gateway.get(REINDEX)
    return status


# --- Judging --------------------------------------------------------------------------------------------


@app.command("eval", epilog=shell.EXIT_CODES)
@calling("editor", "viewer")
def judge(
    caller: Caller,
    collection: Annotated[
        Path | None,
        typer.Argument(help="A folder with corpus.jsonl, queries.jsonl and qrels.tsv", exists=True, file_okay=False),
    ] = None,
    feedback: Annotated[
        bool, typer.Option("--feedback", help="By what people clicked, accepted and rejected, on what is there")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the documents in the index")] = False,
    output: shell.Format = "table",
) -> None:
    """Judge the ranking: nDCG@10, MRR@10 and recall@100 of each leg and of both fusions, on your own judgements.

    The collection is indexed beside what is there, asked, and removed again.
    """
    if (collection is None) == (not feedback):
        fail("say a folder with a collection, or --feedback", Code.USAGE)
    measured = asyncio.run(
        _judge_feedback(caller, output) if collection is None else _judge(caller, collection, keep, output)
    )
    if output != "table":
        shell.write(measured, output)
        return
    table = Table(caption=f"{measured['documents']:,} documents, {measured['queries']:,} judged queries")
    for column in ("", "nDCG@10", "MRR@10", "recall@100"):
        table.add_column(column, justify="right" if column else "left")
    for name, figures in measured["figures"].items():
        table.add_row(name, *(f"{figures[metric]:.3f}" for metric in evaluation.METRICS))
    console.print(table)


async def _judge(caller: Caller, path: Path, keep: bool, output: str) -> dict[str, Any]:
    try:
        collection = evaluation.read(path)
    except (OSError, ValueError) as error:
        fail(f"{path}: {error}", Code.USAGE)
    async with caller.gateway() as gateway:
        sums = await _send(gateway, list(evaluation.lines(collection)), output)
        try:
            if sums["failed"]:
                fail(f"{shell.many(sums['failed'], 'document')} could not be indexed")
            with _progress(output, len(collection.judged) * len(evaluation.WAYS)) as advance:
                figures = await evaluation.measure(gateway.search, collection, advance)
        finally:
            if not keep:
                await _send(gateway, list(evaluation.removals(collection)), output)
    return {"documents": len(collection.corpus), "queries": len(collection.judged), "figures": figures}


async def _judge_feedback(caller: Caller, output: str) -> dict[str, Any]:
    async with caller.gateway() as gateway:
        judged: list[dict[str, Any]] = []
        while page := (await gateway.get(JUDGEMENTS, skip=len(judged), limit=shell.PAGE))["items"]:
            judged += page
        collection = evaluation.of_feedback(judged)
        if not collection.judged:
            fail("nobody has clicked or accepted anything yet: POST /api/v1/search/feedback")
        with _progress(output, len(collection.judged) * len(evaluation.WAYS)) as advance:
            figures = await evaluation.measure(gateway.search, collection, advance)
    return {"documents": len(judged), "queries": len(collection.judged), "figures": figures}


@contextlib.contextmanager
def _progress(output: str, total: int) -> Iterator[Any]:
    columns = (TextColumn("asks"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=errors, transient=True, disable=output != "table") as shown:
        task = shown.add_task("", total=total)
        yield lambda: shown.advance(task)
