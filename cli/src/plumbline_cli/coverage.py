"""`plumbline requirements coverage`: what requirements lack, and services that have none."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from plumbline_cli import files, shell
from plumbline_cli.requirements import Status, app
from plumbline_cli.shell import Caller, Code, calling, console, fail

_PATH = "/api/v1/coverage"
_GAPS = {"sli": "no SLI", "owner": "no owner", "verification": "no verification", "verdict": "no recent verdict"}
_REPORTS = {".html": "html", ".md": "markdown"}


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def coverage(
    caller: Caller,
    by: Annotated[
        Literal["service", "owner_team", "type", "priority", "status"], typer.Option(help="What to group by")
    ] = "service",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a report with pictures instead: .html, or .md for Markdown")
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Default: all but rejected and retired")] = None,
    service: Annotated[str | None, typer.Option()] = None,
    owner_team: Annotated[str | None, typer.Option()] = None,
    label: Annotated[list[str] | None, typer.Option(help="NAME or NAME=VALUE; repeatable: all must match")] = None,
    fail_under: Annotated[
        float | None, typer.Option(min=0, max=100, help="End with 1 where fewer percent lack nothing")
    ] = None,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """Show how many requirements lack an SLI, an owner, verification or a recent verdict, and services without any.

    `plumbline requirements list --gap owner` names them.
    """
    given = {"by": by, "status": status, "service": service, "owner_team": owner_team, "label": label}
    query = {name: value for name, value in given.items() if value}
    page = shell.pages(caller, _PATH, skip, limit, all, **query)
    if out is not None:
        if (form := _REPORTS.get(out.suffix.lower())) is None:
            fail(f"{out}: a report is .html or .md", Code.USAGE)
        files.download(caller, f"{_PATH}/report", query | {"format": form}, out)
    elif output != "table":
        services = shell.pages(caller, f"{_PATH}/services", 0, shell.PAGE, True)
        shell.write(page | {"services_without_requirements": services["items"]}, output)
    else:
        console.print(_table(page, by))
        for each in shell.pages(caller, f"{_PATH}/services", 0, shell.PAGE, True)["items"]:
            console.print(Text.assemble("no requirements: ", shell.text(each["name"])))
    whole = page["whole"]
    if fail_under is not None and 100 * whole["complete"] < fail_under * whole["total"]:
        fail(f"{whole['complete']} of {whole['total']} lack nothing: that is less than {fail_under:g} %")


def _table(page: dict[str, Any], by: str) -> Table:
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    table.add_column(by, overflow="fold")
    for name in ("requirements", "with all of it", *_GAPS.values()):
        table.add_column(name, justify="right")
    for each in page["items"]:
        table.add_row(shell.text(each["value"]), *_cells(each))
    table.add_section()
    table.add_row(Text("all", style="bold"), *_cells(page["whole"]))
    return table


def _cells(counts: dict[str, Any]) -> list[Text]:
    lacking = [counts["without"][gap] for gap in _GAPS]
    return [
        Text(str(counts["total"])),
        Text(str(counts["complete"]), style="green" if counts["complete"] == counts["total"] else ""),
        *(Text(str(count), style="yellow" if count else "dim") for count in lacking),
    ]
