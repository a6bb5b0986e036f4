"""`plumbline deployments`: tell what was deployed, as a pipeline does, read it, and let webhooks tell."""

from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import typer
from rich.table import Table

from plumbline_cli import shell
from plumbline_cli.shell import Caller, calling, console

app = typer.Typer(
    help="Which version of which service was deployed when.", epilog=shell.EXIT_CODES, no_args_is_help=True
)

hooks = typer.Typer(
    help="Where deployments are told by signed webhooks.", epilog=shell.EXIT_CODES, no_args_is_help=True
)
app.add_typer(hooks, name="hooks")

PATH = "/api/v1/deployments"
HOOKS = "/api/v1/deployment-hooks"
Id = Annotated[str, typer.Argument(metavar="ID", help="As hooks list prints it")]
_STYLES = {"recorded": "green", "never": "dim"}


class HookFormat(StrEnum):
    GITHUB = "github"
    STANDARD = "standard"


class GithubEvent(StrEnum):
    DEPLOYMENT_STATUS = "deployment_status"
    DEPLOYMENT = "deployment"


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


# --- Hooks ----------------------------------------------------------------------------------------------


@hooks.command("list", epilog=shell.EXIT_CODES)
@calling("viewer")
def list_hooks(
    caller: Caller,
    service: Annotated[str | None, typer.Option(help="service.name")] = None,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """List hooks by service, with what became of the last delivery to each."""
    page = shell.pages(caller, HOOKS, skip, limit, all, service=service)
    if output != "table":
        return shell.write(page, output)
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("service", "format", "secret", "environments", "last delivery", "outcome", "id"):
        table.add_column(column, no_wrap=column == "service", overflow="fold")
    for item in page["items"]:
        last = item["last_delivery_at"]
        said = (item["service"], item["format"], item["secret"], ", ".join(item["environments"]) or "all")
        news = (shell.moment(last) if last else "never", item["last_outcome"] or "")
        table.add_row(*(shell.text(cell, _STYLES) for cell in (*said, *news, item["id"])))
    console.print(table)
    return None


@hooks.command(epilog=shell.EXIT_CODES)
@calling("editor")
def create(
    caller: Caller,
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="service.name of what is deployed")],
    format: Annotated[
        HookFormat, typer.Option(help="Whose deliveries: GitHub's, or signed as Standard Webhooks are")
    ],
    secret: Annotated[str, typer.Option(metavar="NAME", help="The name of the secret that the sender signs with")],
    environment: Annotated[
        list[str] | None, typer.Option(help="Only of this deployment.environment.name; repeatable; default: of all")
    ] = None,
    github_event: Annotated[
        GithubEvent, typer.Option(help="Which event of GitHub records: a status of success, or what was asked for")
    ] = GithubEvent.DEPLOYMENT_STATUS,
    output: shell.Format = "table",
) -> None:
    """Let the deployments of a service be told by webhook. Prints where to send them."""
    body = {
        "service": service, "format": format, "secret": secret, "environments": environment or [],
        "github_event": github_event,
    }  # fmt: skip
    made: dict[str, Any] = caller.ask(lambda gateway: gateway.post(HOOKS, body, str(uuid4()))).json()
    if output != "table":
        return shell.write(made, output)
    console.print(shell.text(f"✓ {service}: POST {made['url']}"), soft_wrap=True)
    return None


@hooks.command(epilog=shell.EXIT_CODES)
@calling("editor")
def delete(caller: Caller, id: Id) -> None:
    """Take no more deliveries. What was recorded stays."""
    caller.ask(lambda gateway: gateway.send("DELETE", f"{HOOKS}/{quote(id, safe='')}"))
    console.print(shell.text(f"✓ deleted: {id}"), soft_wrap=True)
