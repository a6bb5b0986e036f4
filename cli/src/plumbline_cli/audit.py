"""`plumbline audit`: read the audit log, and verify its hash chain."""

import re
from typing import Annotated, Any, Literal

import httpx
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from plumbline_cli import requirements, shell
from plumbline_cli.client import Gateway
from plumbline_cli.shell import Caller, Code, Told, calling, console

app = typer.Typer(
    help="The audit log: who changed what, when and why; and whether anyone touched the log.",
    epilog=shell.EXIT_CODES,
    no_args_is_help=True,
)

PATH = "/api/v1/audit"
STEP = 500
"""Entries between two looks of the progress bar."""


@app.command("list", epilog=shell.EXIT_CODES)
@calling("reviewer")
def list_(
    caller: Caller,
    id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Of one requirement", autocompletion=requirements.keys)
    ] = None,
    entity_id: Annotated[str | None, typer.Option(help="Of one entity of any kind")] = None,
    actor: Annotated[str | None, typer.Option(help="Who did it")] = None,
    action: Annotated[str | None, typer.Option(help="Such as requirement.updated")] = None,
    after: Annotated[str | None, typer.Option(help="RFC 3339, such as 2026-05-01T00:00:00Z")] = None,
    before: Annotated[str | None, typer.Option()] = None,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """List who changed what, the newest first."""
    if id is not None and entity_id is not None:
        raise Told("ID or --entity-id, not both", Code.USAGE)
    query = {
        "entity_id": entity_id if id is None else requirements.id_of(caller, id),
        "actor": actor, "action": action, "after": after, "before": before,
    }  # fmt: skip
    page = shell.pages(caller, PATH, skip, limit, all, **query)
    if output != "table":
        return shell.write(page, output)
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("position", "at", "by", "action", "entity", "revision", "changed", "reason"):
        justify: Literal["left", "right"] = "right" if column in ("position", "revision") else "left"
        table.add_column(column, justify=justify, no_wrap=column == "at", overflow="fold")
    for item in page["items"]:
        entry = item["entry"]
        place = "…" if item["position"] is None else str(item["position"])
        what = f"{entry['entity']}.{entry['action']}"
        said = (
            entry["actor"],
            what,
            entry["entity_id"],
            entry["revision"],
            ", ".join(entry["changed"]),
            entry["reason"],
        )
        table.add_row(place, shell.moment(entry["at"]), *map(shell.text, said))
    console.print(table)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("reviewer")
def verify(
    caller: Caller,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="POSITION:HASH", help="A head that an earlier run printed, kept where nobody rewrites it"
        ),
    ] = None,
    output: shell.Format = "table",
) -> None:
    """Recompute the hash chain of the whole log, and the digests of the documents that it tells of.

    Ends with 1 at the first break, saying where and why. Prints the head: kept elsewhere and given as --head, it also
    shows when the whole log was written anew.
    """
    known = None if head is None else _head(head)
    result = caller.ask(lambda gateway: _verify(gateway, known))
    if output != "table":
        shell.write(result, output)
    elif result["ok"]:
        console.print(Text.assemble(("✓ ", "green"), f"{result['entries']} entries are as they were written"))
        if result["unsealed"]:
            console.print(f"  {result['unsealed']} of them are not sealed yet")
        console.print(f"head {result['position']}:{result['hash']}", soft_wrap=True, highlight=False)
    if not result["ok"]:
        place = "" if result["broken_at"] is None else f"position {result['broken_at']}: "
        raise Told(f"{place}{result['reason']}")


async def _verify(gateway: Gateway, known: tuple[int, str] | None) -> dict[str, Any]:
    # The chain's module brings the services' libraries: too slow to load for every command.
    from plumbline_cli.verification import Verifier

    total = (await gateway.get(PATH, limit=1))["total"]
    verifier = Verifier(known)
    reason = None
    progress = Progress(
        SpinnerColumn(), TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=shell.errors, transient=True, disable=not shell.errors.is_terminal,
    )  # fmt: skip
    with progress:
        task = progress.add_task("verifying", total=total)
        while reason is None:
            began = verifier.chain.position
            try:
                async for line in gateway.lines(f"{PATH}/export", params={"after": began}):
                    if reason := verifier.check(line):
                        break
                    if verifier.entries % STEP == 0:
                        progress.update(task, completed=verifier.entries, total=max(total, verifier.entries))
                break
            except httpx.TransportError:
                # A gateway may cut a long answer: it goes on from where it came to.
                if verifier.chain.position == began:
                    raise
                verifier.forget_unsealed()
    reason = reason or verifier.end()
    position, hash = verifier.head
    result: dict[str, Any] = {"ok": reason is None, "entries": verifier.entries, "unsealed": verifier.unsealed}
    if reason is not None:
        return result | {"broken_at": verifier.place, "reason": reason}
    return result | {"position": position, "hash": hash}


def _head(given: str) -> tuple[int, str]:
    found = re.fullmatch(r"([1-9][0-9]{0,18}):([0-9a-fA-F]{64})", given)
    if found is None:
        raise Told(f"--head {given}: needs POSITION:HASH, as verify prints it", Code.USAGE)
    return int(found[1]), found[2].lower()
