"""`plumbline requirements`: list, show, create, edit, transition, review, diff and history through the gateway."""

import contextlib
import io
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import httpx
import typer
from rich.table import Table
from rich.text import Text

from plumbline_cli import catalog, diffs, editing, forms, shell
from plumbline_cli.client import Gateway, Refused
from plumbline_cli.shell import Caller, Code, Told, calling, console
from plumbline_common.openslo.writing import dump

app = typer.Typer(
    help="Requirements: write, review, follow them. ID is a key (REQ-42) or a UUID.",
    epilog=shell.EXIT_CODES,
    no_args_is_help=True,
)

PATH = "/api/v1/requirements"

Status = Literal["draft", "in_review", "approved", "rejected", "active", "deprecated", "retired"]
Type = Literal["availability", "latency", "correctness", "durability", "capacity", "security", "operability", "other"]
Priority = Literal["must", "should", "could"]
Verdict = Literal["MET", "AT_RISK", "VIOLATED", "NO_DATA"]


class Gap(StrEnum):
    SLI = "sli"
    OWNER = "owner"
    VERIFICATION = "verification"
    VERDICT = "verdict"


_KEY = re.compile(r"[A-Za-z][A-Za-z0-9]*-[0-9]+")
_OF_THE_SERVICE = frozenset(
    ("id", "key", "revision", "fingerprint", "status", "in_force", "created_at", "created_by", "updated_at",
     "updated_by", "reviewers", "verdict", "warnings", "suspect_links")
)  # fmt: skip
_STATES = {"active": "green", "approved": "cyan", "in_review": "yellow", "rejected": "red", "retired": "dim"}
_SEVERITIES = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_VERDICTS = {"MET": "green", "AT_RISK": "yellow", "VIOLATED": "bold red", "NO_DATA": "dim"}


def keys(context: typer.Context, begun: str) -> list[tuple[str, str]]:
    """For completion: the keys that were changed last, with titles; none where the gateway does not answer soon."""
    folder, url, token = (context.params.get(name) for name in ("folder", "url", "token"))
    url, token = url or os.environ.get("PLUMBLINE_URL"), token or os.environ.get("PLUMBLINE_TOKEN")
    folder = folder or Path(os.environ.get("PLUMBLINE_FOLDER", shell.HERE))
    with contextlib.suppress(Exception), contextlib.redirect_stderr(io.StringIO()):
        caller = Caller(folder, url, token, ["viewer"], [], "cli", timeout=2)
        page = caller.get(PATH, sort="-updated_at", fields="key,title", limit=shell.PAGE)
        found = [(each["key"], diffs.plain(each["title"])) for each in page["items"]]
        return [(key, title) for key, title in found if key.startswith(begun)]
    return []


Id = Annotated[str, typer.Argument(metavar="ID", help="REQ-42, or the UUID", autocompletion=keys)]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the history and in the audit log")]
Key = Annotated[
    str | None,
    typer.Option("--idempotency-key", help="Of an earlier try whose answer was lost: done at most once in 24 hours"),
]


def id_of(caller: Caller, given: str) -> str:
    """The id of the requirement that a key or an id names."""
    try:
        return str(UUID(given))
    except ValueError:
        pass
    if not _KEY.fullmatch(given):
        raise Told(f"{given} is neither a key, such as REQ-42, nor a UUID", Code.USAGE)
    key = given.upper()
    found = caller.get(PATH, key=key, limit=1)["items"]
    if not found:
        raise Told(f"there is no requirement {key}", Code.NOT_FOUND)
    return str(found[0]["id"])


def read(caller: Caller, id: str) -> tuple[dict[str, Any], str]:
    """The requirement as it is now, and its ETag."""
    response = caller.ask(lambda gateway: gateway.send("GET", f"{PATH}/{id}"))
    return response.json(), response.headers["etag"]


# --- Reading --------------------------------------------------------------------------------------------


@app.command("list", epilog=shell.EXIT_CODES)
@calling("viewer")
def list_(
    caller: Caller,
    q: Annotated[str | None, typer.Option("--q", "-q", help="Beginnings of words of the title, or a key")] = None,
    status: Annotated[Status | None, typer.Option()] = None,
    type: Annotated[Type | None, typer.Option()] = None,
    priority: Annotated[Priority | None, typer.Option()] = None,
    service: Annotated[str | None, typer.Option()] = None,
    owner_team: Annotated[str | None, typer.Option()] = None,
    label: Annotated[list[str] | None, typer.Option(help="NAME or NAME=VALUE; repeatable: all must match")] = None,
    reviewer: Annotated[str | None, typer.Option(help="Who was asked to review")] = None,
    verdict: Annotated[Verdict | None, typer.Option()] = None,
    in_force: Annotated[bool | None, typer.Option("--in-force/--not-in-force")] = None,
    suspect: Annotated[
        bool | None, typer.Option("--suspect/--not-suspect", help="Whether it has links whose target changed")
    ] = None,
    gap: Annotated[list[Gap] | None, typer.Option(help="What it lacks; repeatable: any of them")] = None,
    created_by: Annotated[str | None, typer.Option()] = None,
    updated_by: Annotated[str | None, typer.Option()] = None,
    created_after: Annotated[str | None, typer.Option(help="RFC 3339, such as 2026-05-01T00:00:00Z")] = None,
    created_before: Annotated[str | None, typer.Option()] = None,
    updated_after: Annotated[str | None, typer.Option()] = None,
    updated_before: Annotated[str | None, typer.Option()] = None,
    sort: Annotated[str | None, typer.Option(help="Members by comma, - for descending: -updated_at,title")] = None,
    fields: Annotated[str | None, typer.Option(help="Only these members, by comma (json, yaml)")] = None,
    facets: Annotated[str | None, typer.Option(help="Count the matches by these members (json, yaml)")] = None,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    cursor: Annotated[str | None, typer.Option(help="The `next` of the page before")] = None,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """List the requirements that match."""
    query: dict[str, Any] = {
        "q": q, "status": status, "type": type, "priority": priority, "service": service, "owner_team": owner_team,
        "label": label or None, "reviewer": reviewer, "verdict": verdict, "in_force": in_force, "suspect": suspect,
        "gap": [each.value for each in gap or []] or None,
        "created_by": created_by, "updated_by": updated_by, "created_after": created_after,
        "created_before": created_before, "updated_after": updated_after, "updated_before": updated_before,
        "sort": sort, "fields": None if output == "table" else fields, "facets": facets, "skip": skip or None,
        "limit": shell.PAGE if all else limit, "cursor": cursor,
    }  # fmt: skip
    page = caller.get(PATH, **query)
    while all and page.get("next"):
        more = caller.get(PATH, **query | {"cursor": page["next"], "skip": None, "facets": None})
        page = {**page, "items": page["items"] + more["items"], "next": more.get("next")}
    if output != "table":
        return shell.write(page, output)
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("key", "title", "status", "type", "priority", "service", "team", "verdict", "updated"):
        table.add_column(column, no_wrap=column in ("key", "updated"), overflow="fold")
    for item in page["items"]:
        judged = (item.get("verdict") or {}).get("state")
        suspects = item.get("suspect_links") or 0
        badge = Text(f" {shell.many(suspects, 'suspect link')}", style="yellow") if suspects else ""
        table.add_row(
            shell.text(item["key"]),
            Text.assemble(shell.text(item["title"]), badge),
            shell.text(item["status"], _STATES),
            *map(shell.text, (item["type"], item["priority"], item["service"], item["owner_team"])),
            shell.text(judged, _VERDICTS),
            shell.moment(item["updated_at"]),
        )
    console.print(table)
    if page.get("next"):
        shell.errors.print(f"more: --cursor {page['next']}", soft_wrap=True, highlight=False, markup=False)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def show(
    caller: Caller,
    id: Id,
    as_of: Annotated[str | None, typer.Option(help="As it was then; RFC 3339")] = None,
    revision: Annotated[int | None, typer.Option(min=1, help="What one revision said")] = None,
    output: shell.Format = "table",
) -> None:
    """Show one requirement."""
    if as_of is not None and revision is not None:
        raise Told("--as-of or --revision, not both", Code.USAGE)
    path = f"{PATH}/{id_of(caller, id)}"
    document = caller.get(path if revision is None else f"{path}/revisions/{revision}", as_of=as_of)
    if output != "table":
        return shell.write(document, output)
    title = Text.assemble((document["key"], "bold"), "  ", diffs.plain(document["title"]))
    console.print(title, soft_wrap=True)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    force = document.get("in_force")
    elsewhere = f", in force: revision {force}" if force not in (None, document["revision"]) else ""
    grid.add_row(
        "status",
        Text.assemble(shell.text(document["status"], _STATES), f"  revision {document['revision']}{elsewhere}"),
    )
    if judged := document.get("verdict"):
        stale = f"  stale: judged revision {judged['revision']}" if judged.get("stale") else ""
        grid.add_row(
            "verdict",
            Text.assemble(shell.text(judged["state"], _VERDICTS), diffs.plain(f"{stale}  {judged['reason']}")),
        )
    for name, value in forms.editable(document).items():
        if name != "title" and value:
            grid.add_row(name, shell.text(value if isinstance(value, str) else dump(value).rstrip("\n")))
    if document.get("reviewers"):
        grid.add_row("reviewers", shell.text(", ".join(document["reviewers"])))
    for name in ("created", "updated"):
        grid.add_row(
            name, Text.assemble(shell.moment(document[f"{name}_at"]), " by ", shell.text(document[f"{name}_by"]))
        )
    grid.add_row("id", document["id"])
    console.print(grid)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def diff(
    caller: Caller,
    id: Id,
    first: Annotated[
        int | None, typer.Option("--from", min=1, help="Default: what is in force, or the one before")
    ] = None,
    second: Annotated[int | None, typer.Option("--to", min=1, help="Default: the newest")] = None,
    beside: Annotated[bool, typer.Option("--side-by-side", "-y", help="Both versions beside each other")] = False,
    output: shell.Format = "table",
) -> None:
    """Show what lies between two revisions, member by member."""
    found = id_of(caller, id)
    key = id.upper() if _KEY.fullmatch(id) else found
    if first is None or second is None:
        first, second = _between(read(caller, found)[0], first, second)
    told = caller.get(f"{PATH}/{found}/diff", **{"from": first, "to": second})
    if output != "table":
        return shell.write(told, output)
    if not told["changes"]:
        console.print(f"{key}: revisions {first} and {second} say the same")
    elif beside:
        console.print(diffs.side_by_side(told["changes"], f"revision {first}", f"revision {second}"))
    else:
        text = diffs.unified(told["changes"], f"{key} revision {first}", f"{key} revision {second}")
        console.print(text, soft_wrap=True, end="")
    return None


def _between(now: Mapping[str, Any], first: int | None, second: int | None) -> tuple[int, int]:
    """The revisions to compare, where one of them or both were not named."""
    to = second or int(now["revision"])
    force = now.get("in_force")
    since = first or (force if force and force < to else to - 1)
    if not since:
        raise Told(f"{now['key']} has one revision; there is none before it", Code.USAGE)
    return since, to


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def history(
    caller: Caller,
    id: Id,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """Show who changed what and why, the newest first."""
    page = shell.pages(caller, f"{PATH}/{id_of(caller, id)}/revisions", skip, limit, all)
    if output != "table":
        return shell.write(page, output)
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("revision", "at", "status", "by", "changed", "reason"):
        justify: Literal["left", "right"] = "right" if column == "revision" else "left"
        table.add_column(column, justify=justify, no_wrap=column == "at", overflow="fold")
    for item in page["items"]:
        table.add_row(
            str(item["revision"]),
            shell.moment(item["at"]),
            shell.text(item["status"], _STATES),
            *map(shell.text, (item["actor"], ", ".join(item["changed"]), item["reason"])),
        )
    console.print(table)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def impact(
    caller: Caller,
    id: Id,
    type: Annotated[
        list[str] | None, typer.Option(help="Follow these links only, such as derives; repeatable")
    ] = None,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """Show what a change of a requirement reaches: what derives from it, refines or verifies it, and so on."""
    path = f"{PATH}/{id_of(caller, id)}/impact"
    page = shell.pages(caller, path, skip, limit, all, **({"type": type} if type else {}))
    if output != "table":
        return shell.write(page, output)
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("key", "title", "status", "service", "team"):
        table.add_column(column, no_wrap=column == "key", overflow="fold")
    for item in page["items"]:
        gone = item["key"] is None
        table.add_row(
            *map(shell.text, (item["id"], "deleted") if gone else (item["key"], item["title"])),
            shell.text(item["status"] or "", _STATES),
            *map(shell.text, (item["service"] or "", item["owner_team"] or "")),
        )
    console.print(table)
    return None


# --- Writing --------------------------------------------------------------------------------------------


@app.command(epilog=shell.EXIT_CODES)
@calling("editor")
def create(
    caller: Caller,
    title: Annotated[str | None, typer.Option()] = None,
    statement: Annotated[
        str | None, typer.Option(help="What is required, one sentence; EARS form is welcome")
    ] = None,
    description: Annotated[str | None, typer.Option()] = None,
    rationale: Annotated[str | None, typer.Option()] = None,
    type: Annotated[Type | None, typer.Option()] = None,
    priority: Annotated[Priority | None, typer.Option()] = None,
    owner_team: Annotated[str | None, typer.Option()] = None,
    service: Annotated[str | None, typer.Option()] = None,
    verification_method: Annotated[str | None, typer.Option()] = None,
    label: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeatable")] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", "-f", help="YAML or JSON: members, what show prints, or kind: Requirement; - is stdin"
        ),
    ] = None,
    key: Key = None,
    output: shell.Format = "table",
) -> None:
    """Create requirements from options, a file or standard input. They begin as drafts.

    Options go over what each document of the file says. JSON and YAML output is one object for one document, else a
    list.
    """
    given = {
        "title": title, "statement": statement, "description": description, "rationale": rationale, "type": type,
        "priority": priority, "owner_team": owner_team, "service": service,
        "verification_method": verification_method,
    }  # fmt: skip
    options = {name: value for name, value in given.items() if value is not None}
    labels = dict(_pair(each) for each in label or [])
    if file is None and title is None:
        raise Told("nothing to create: give --title, or --file (- for standard input)", Code.USAGE)
    bodies = [{}] if file is None else _bodies(file)
    key = key or str(uuid4())
    created: list[dict[str, Any]] = []
    for number, body in enumerate(bodies, 1):
        wanted = body | options
        if labels:
            own = body.get("labels") or {}
            wanted["labels"] = own | labels if isinstance(own, dict) else own
        own_key = key if len(bodies) == 1 else f"{key}.{number}"
        try:
            created.append(_post(caller, PATH, wanted, own_key))
        except (Refused, httpx.HTTPError) as error:
            of = f"document {number} of {len(bodies)}: " if len(bodies) > 1 else ""
            so_far = f"; created before it: {len(created)}" if len(bodies) > 1 else ""
            raise Told(
                f"{of}{_reason(error)}{so_far}{_again(error, key, bool(created))}", shell.code_of(error)
            ) from None
        if output == "table":
            _done(created[-1], "created")
    if output != "table":
        shell.write(created[0] if len(bodies) == 1 else created, output)


def _bodies(file: str) -> list[dict[str, Any]]:
    """The bodies of a file or of standard input."""
    name = "standard input" if file == "-" else file
    try:
        documents = forms.load(sys.stdin.read() if file == "-" else Path(file).read_text())
        documents = [
            each for document in documents for each in (document if isinstance(document, list) else [document])
        ]
        bodies = [_body(document, f"{name}, document {number}") for number, document in enumerate(documents, 1)]
    except OSError as error:
        raise Told(f"{name}: {error.strerror}", Code.USAGE) from None
    except (ValueError, TypeError) as error:
        raise Told(str(error) if isinstance(error, catalog.NotACatalog) else f"{name}: {error}", Code.USAGE) from None
    if not bodies:
        raise Told(f"{name} holds no requirement", Code.USAGE)
    return bodies


def _body(document: Any, place: str) -> dict[str, Any]:
    if isinstance(document, dict) and "apiVersion" not in document:
        return {name: value for name, value in document.items() if name not in _OF_THE_SERVICE}
    return catalog.body(document, place)


def _post(caller: Caller, path: str, body: Any, key: str, **headers: str) -> dict[str, Any]:
    answer: dict[str, Any] = caller.ask(lambda gateway: gateway.post(path, body, key, **headers)).json()
    return answer


def _posted(caller: Caller, path: str, body: Any, key: str | None, **headers: str) -> dict[str, Any]:
    """The answer to a POST that is done at most once; who may have lost it is told how to ask again."""
    key = key or str(uuid4())
    try:
        return _post(caller, path, body, key, **headers)
    except (Refused, httpx.HTTPError) as error:
        raise Told(f"{_reason(error)}{_again(error, key)}", shell.code_of(error)) from None


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, Refused) else f"no answer ({str(error) or type(error).__name__})"


def _again(error: Exception, key: str, partly: bool = False) -> str:
    """How to go on without doubles, where something may have been done."""
    lost = shell.code_of(error) is Code.FAILED
    command = "the same command" if lost else "the command, mended,"
    return f"\n  to go on without doubles, {command} with --idempotency-key {key}" if lost or partly else ""


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def lint(
    caller: Caller,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]…", help="REQ-42, or the UUID")] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="What create takes, written or not; - is standard input")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A warning is a failure too")] = False,
    output: shell.Format = "table",
) -> None:
    """Show what is weak in requirements, written or not: vague words, missing units, contradictions to the SLO."""
    if not ids and file is None:
        raise Told("name requirements, or a file with --file", Code.USAGE)
    bodies = [(id, _body(read(caller, id_of(caller, id))[0], id)) for id in ids or ()]
    if file is not None:
        bodies += [(f"{file}, document {place}", body) for place, body in enumerate(_bodies(file), 1)]

    async def linted(gateway: Gateway) -> list[dict[str, Any]]:
        return [
            {"requirement": name} | (await gateway.send("POST", f"{PATH}/lint", json=body)).json()
            for name, body in bodies
        ]

    reports = caller.ask(linted)
    counts = Counter(
        each["severity"] for report in reports for each in report["findings"] if each["silenced"] is None
    )
    if output != "table":
        shell.write({"items": reports}, output)
    else:
        _tell_lint(reports)
        found = (shell.many(counts[severity], severity) for severity in ("error", "warning"))
        console.print(", ".join([shell.many(len(reports), "requirement"), *found]))
    if counts["error"] or (strict and counts["warning"]):
        raise typer.Exit(Code.FAILED)


def _tell_lint(reports: list[dict[str, Any]]) -> None:
    for report in reports:
        for each in report["findings"]:
            if each["silenced"] is not None:
                continue
            place = f" {each['start'] + 1}-{each['end']}" if each["end"] else ""
            where = diffs.plain(f"{report['requirement']}, {each['pointer'].removeprefix('/')}{place}: ")
            severity, said = each["severity"], diffs.plain(f" {each['rule']}: {each['message']}")
            console.print(Text.assemble(where, (severity, _SEVERITIES.get(severity, "")), said), soft_wrap=True)
            hint = diffs.plain(f"  {each['suggestion']} ({each['source']})")
            console.print(Text(hint, style="dim"), soft_wrap=True)


@app.command(epilog=shell.EXIT_CODES)
@calling("editor")
def edit(
    caller: Caller,
    id: Id,
    reason: Reason = "",
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", exists=True, dir_okay=False, help="Begin with this text, such as a failed edit kept"
        ),
    ] = None,
    output: shell.Format = "table",
) -> None:
    """Change a requirement in $VISUAL or $EDITOR.

    Only what you changed is written. Where others changed the requirement meanwhile, their changes and yours are put
    together; what both changed comes back into the editor. Your text is kept in a file until it is written.
    """
    found = id_of(caller, id)
    document, changed = editing.edit(editing.Remote(caller, f"{PATH}/{found}", reason), file)
    if output != "table":
        shell.write(document, output)
    elif changed:
        _done(document, f"changed: {', '.join(changed)}")
    else:
        console.print(f"{document['key']}: nothing changed")


@app.command(epilog=shell.EXIT_CODES)
@calling("editor", "reviewer")
def transition(
    caller: Caller,
    id: Id,
    to: Annotated[Status, typer.Argument(metavar="STATE", help="in_review, approved, active, …")],
    reason: Reason = "",
    reviewer: Annotated[list[str] | None, typer.Option(help="Who is asked to review; repeatable")] = None,
    revision: Annotated[
        int | None, typer.Option(min=1, help="Only if this is still the newest; default: the one that is now")
    ] = None,
    key: Key = None,
    output: shell.Format = "table",
) -> None:
    """Move the lifecycle of a requirement on."""
    found = id_of(caller, id)
    match = read(caller, found)[1] if revision is None else f'"{revision}"'
    body = {"to": to, "reason": reason, "reviewers": reviewer or []}
    moved = _posted(caller, f"{PATH}/{found}/transitions", body, key, **{"If-Match": match})
    if output != "table":
        return shell.write(moved, output)
    return _done(moved, moved["status"])


@app.command(epilog=shell.EXIT_CODES)
@calling("reviewer")
def review(
    caller: Caller,
    id: Id,
    approve: Annotated[bool, typer.Option("--approve")] = False,
    reject: Annotated[bool, typer.Option("--reject")] = False,
    request_changes: Annotated[bool, typer.Option("--request-changes")] = False,
    comment: Annotated[str | None, typer.Option("--comment", help="Alone, or with a decision")] = None,
    revision: Annotated[
        int | None, typer.Option(min=1, help="The revision that you read; default: the one that is now")
    ] = None,
    key: Key = None,
    output: shell.Format = "table",
) -> None:
    """Approve, reject, ask for changes, or comment. The author of a revision cannot decide on it."""
    asked = {"approve": approve, "reject": reject, "request_changes": request_changes}
    decisions = [name for name, wanted in asked.items() if wanted]
    if len(decisions) > 1 or not (decisions or comment):
        raise Told("one of --approve, --reject, --request-changes, or --comment TEXT", Code.USAGE)
    found = id_of(caller, id)
    body = {
        "decision": decisions[0] if decisions else "comment",
        "comment": comment or "",
        "revision": revision or read(caller, found)[0]["revision"],
    }
    given = _posted(caller, f"{PATH}/{found}/reviews", body, key)
    if output != "table":
        return shell.write(given, output)
    approvals = ""
    if given.get("required_approvals") is not None:
        approvals = f" ({given['approvals']} of {given['required_approvals']} approvals)"
    said = given["decision"].replace("_", " ")
    console.print(
        Text.assemble(
            ("✓ ", "green"), f"{id} revision {given['revision']}: {said}; it is {given['status']}{approvals}"
        ),
        soft_wrap=True,
    )
    return None


# --- Small things ---------------------------------------------------------------------------------------


def _pair(label: str) -> tuple[str, str]:
    name, equals, value = label.partition("=")
    if not (name and equals):
        raise Told(f"--label {label}: needs NAME=VALUE", Code.USAGE)
    return name, value


def _done(document: Mapping[str, Any], what: str) -> None:
    line = f"{document['key']} {document['title']}: {what} (revision {document['revision']})"
    console.print(Text.assemble(("✓ ", "green"), diffs.plain(line)), soft_wrap=True)
    if findings := document.get("warnings"):
        told = f"  {shell.many(len(findings), 'finding')}: plumbline requirements lint {document['key']}"
        console.print(Text(told, style="yellow"), soft_wrap=True)
