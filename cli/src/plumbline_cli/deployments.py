"""`plumbline deployments`: tell what was deployed, as a pipeline does, and read it."""

from typing import Annotated, Any
from uuid import uuid4

import typer
from rich.table import Table

from plumbline_cli import shell
from plumbline_cli.shell import Caller, calling, console

app = typer.Typer(
    help="Which version of which service was deployed when.", epilog=shell.EXIT_CODES, no_args_is_help=True
)

PATH = "/api/v1/deployments"


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def record(
    caller: Caller,
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="service.name, as its telemetry has it")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="service.version")],
    environment: Annotated[str | None, typer.Option(help="deployment.environment.name")] = None,
    at: Annotated[str | None, typer.Option(help="RFC 3339, such as 2026-05-01T00:00:00Z; default: now")] = None,
    link: Annotated[str | None, typer.Option(help="Where the change, or the run, can be read")] = None,
    description: Annotated[str | None, typer.Option()] = None,
    id: Annotated[
        str | None, typer.Option("--id", help="What you call the deployment: told again, it is recorded once")
    ] = None,
    output: shell.Format = "table",
) -> None:
    """Tell that a version of a service was deployed."""
    given = {
        "service": service, "version": version, "environment": environment, "deployed_at": at, "url": link,
        "description": description, "external_id": id,
    }  # fmt: skip
    body = {name: value for name, value in given.items() if value is not None}
    recorded: dict[str, Any] = caller.ask(lambda gateway: gateway.post(PATH, body, str(uuid4()))).json()
    if output != "table":
        return shell.write(recorded, output)
    console.print(shell.text(f"✓ {service} {version} at {shell.moment(recorded['deployed_at'])}"), soft_wrap=True)
    return None


@app.command("list", epilog=shell.EXIT_CODES)
@calling("viewer")
def list_(
    caller: Caller,
    service: Annotated[str | None, typer.Option(help="service.name")] = None,
    since: Annotated[str | None, typer.Option(help="RFC 3339, such as 2026-05-01T00:00:00Z")] = None,
    until: Annotated[str | None, typer.Option()] = None,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """List deployments, the latest first."""
    page = shell.pages(caller, PATH, skip, limit, all, service=service, since=since, until=until)
    if output != "table":
        return shell.write(page, output)
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("at", "service", "version", "environment", "description", "link"):
        table.add_column(column, no_wrap=column == "at", overflow="fold")
    for item in page["items"]:
        said = (item[name] or "" for name in ("service", "version", "environment", "description", "url"))
        table.add_row(shell.moment(item["deployed_at"]), *map(shell.text, said))
    console.print(table)
    return None
