"""What all commands share: the options of a caller, exit codes, output, and how a failure is told."""

import asyncio
import contextlib
import functools
import inspect
import json
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, get_type_hints

import httpx
import typer
from rich.console import Console
from rich.text import Text

from plumbline_cli import diffs
from plumbline_cli.client import Gateway, Refused
from plumbline_cli.credentials import ClientCredentials, NoToken, ServiceAccount
from plumbline_common.openslo.writing import dump

console = Console()
errors = Console(stderr=True)

T = TypeVar("T")
Output = Literal["table", "json", "yaml"]

Folder = Annotated[Path, typer.Option("--folder", envvar="PLUMBLINE_FOLDER", help="Where the stack keeps its state")]
Url = Annotated[
    str | None, typer.Option("--url", envvar="PLUMBLINE_URL", help="The gateway; default: the local stack's")
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="PLUMBLINE_TOKEN",
        help="An access token; default: that of the service account, or the local stack makes one",
    ),
]
Roles = Annotated[list[str] | None, typer.Option("--role", help="In the local stack's token; repeatable")]
Teams = Annotated[
    list[str] | None, typer.Option("--team", help="In the local stack's token; repeatable; default: platform")
]
Subject = Annotated[str | None, typer.Option("--as", help="Who the local stack's token says you are; default: cli")]
Format = Annotated[Output, typer.Option("--output", "-o", help="How to print")]
Skip = Annotated[int, typer.Option(min=0)]
Limit = Annotated[int, typer.Option(min=1, max=100)]
All = Annotated[bool, typer.Option("--all", help="All pages")]
HERE = Path(".plumbline")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
PAGE = 100
"""The longest page that the gateway gives."""


class Code(IntEnum):
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    CONFLICT = 5


EXIT_CODES = (
    "Exit codes: 0 done; 1 failed; 2 usage: options or input that are malformed, found here or by the gateway;"
    " 3 there is no such thing; 4 refused: not authenticated, or not allowed;"
    " 5 conflict: not in this state, or changed meanwhile."
)
_CODES = {
    400: Code.USAGE,
    401: Code.REFUSED,
    403: Code.REFUSED,
    404: Code.NOT_FOUND,
    409: Code.CONFLICT,
    412: Code.CONFLICT,
    413: Code.USAGE,
    415: Code.USAGE,
    422: Code.USAGE,
    428: Code.CONFLICT,
}


class Told(Exception):
    """Something that a person is told, with the exit code that goes with it."""

    def __init__(self, reason: str, code: Code = Code.FAILED) -> None:
        super().__init__(reason)
        self.code = code


_UNKNOWN_CALLER = "; give another by --token or PLUMBLINE_TOKEN, or neither: then a local stack makes its own"


def code_of(error: BaseException) -> Code:
    if isinstance(error, Told):
        return error.code
    return _CODES.get(error.status, Code.FAILED) if isinstance(error, Refused) else Code.FAILED


def stack() -> Any:
    """The commands of the embedded stack; needs the extra."""
    try:
        from plumbline_cli import local
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("plumbline_stack"):
            raise
        fail("this needs the embedded stack: pip install 'plumbline-cli[stack]'")
    return local


def fail(reason: str, code: Code = Code.FAILED) -> NoReturn:
    errors.print(Text.assemble(("✗ ", "bold red"), diffs.plain(reason)), soft_wrap=True)
    raise typer.Exit(code)


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Tell what is refused or does not answer, and end with its exit code."""
    try:
        yield
    except (Refused, Told) as error:
        is_token = isinstance(error, Refused) and error.status == httpx.codes.UNAUTHORIZED
        fail(f"{error}{_UNKNOWN_CALLER if is_token else ''}", code_of(error))
    except NoToken as error:
        fail(str(error), Code.REFUSED)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        fail(f"not a URL: {error}", Code.USAGE)
    except httpx.HTTPError as error:
        url = error.request.url
        where, why = f"{url.scheme}://{url.netloc.decode()}", str(error) or type(error).__name__
        fail(f"{where} does not answer ({why}); is it up? plumbline status tells of a local stack")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


# --- The caller -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caller:
    """Who asks which gateway. The local stack's tokens are made anew each time: an edit may take longer than one."""

    folder: Path
    url: str | None
    token: str | None
    roles: Sequence[str]
    teams: Sequence[str]
    subject: str
    timeout: float = 15
    """Seconds to wait for the gateway."""

    def gateway(self) -> Gateway:
        url: str | None = self.url
        token: str | ClientCredentials | None = self.token
        if token is None and (account := ServiceAccount.of(os.environ)):
            token = ClientCredentials(account)
        if url is None or token is None:
            local = stack()
            url = url or str(local.gateway_url(self.folder))
            token = token or str(local.token(self.folder, self.roles, self.teams, self.subject))
        return Gateway(url, token, self.timeout)

    def ask(self, question: Callable[[Gateway], Awaitable[T]]) -> T:
        """The answer of the gateway, from where no event loop runs."""

        async def asking() -> T:
            async with self.gateway() as gateway:
                return await question(gateway)

        return asyncio.run(asking())

    def get(self, path: str, **query: Any) -> Any:
        """The body of a GET; parameters that are None are left out."""
        return self.ask(lambda gateway: gateway.get(path, **query))


def _with_options(
    folder: Folder = HERE,
    url: Url = None,
    token: Token = None,
    role: Roles = None,
    team: Teams = None,
    subject: Subject = None,
) -> None: ...


def calling(*roles: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function of a caller a command that has the caller's options after its own.

    `roles` go into a token of the local stack where the options name none.
    """

    def made(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(
            *, folder: Path, url: str | None, token: str | None, role: Any, team: Any, subject: Any, **own: Any
        ) -> None:
            if token is not None and (role or team or subject):
                fail("--role, --team and --as go into a token of the local stack; --token has its own", Code.USAGE)
            with telling():
                command(
                    Caller(folder, url, token, role or roles, team or ["platform"], subject or "cli"),
                    **own,
                )

        own = inspect.signature(command, eval_str=True)
        options = inspect.signature(_with_options, eval_str=True)
        parameters = [*list(own.parameters.values())[1:], *options.parameters.values()]
        shown = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
        called.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]
        hints = get_type_hints(command, include_extras=True) | get_type_hints(_with_options, include_extras=True)
        called.__annotations__ = {each.name: hints[each.name] for each in parameters}
        del called.__wrapped__
        return called

    return made


def pages(caller: Caller, path: str, skip: int, limit: int, all: bool, **query: Any) -> dict[str, Any]:
    """One page, or all from `skip` on."""
    page: dict[str, Any] = caller.get(path, skip=skip, limit=PAGE if all else limit, **query)
    while all and skip + len(page["items"]) < page["total"]:
        more = caller.get(path, skip=skip + len(page["items"]), limit=PAGE, **query)["items"]
        if not more:
            break
        page["items"] += more
    return page


# --- Output ---------------------------------------------------------------------------------------------


def write(value: Any, output: Output) -> None:
    """Print JSON or YAML, without colours and without breaking lines."""
    if output == "json":
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        typer.echo(dump(value), nl=False)


def text(value: Any, styles: Mapping[str, str] = {}) -> Text:
    return Text(diffs.plain(value), style=styles.get(str(value), ""))


def many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def duration(said: str) -> timedelta:
    """Raises `Told`."""
    found = re.fullmatch(r"([1-9]\d{0,3})([mhd])", said)
    if found is None:
        raise Told(f"{said}: not a duration such as 30m, 2h or 1d", Code.USAGE)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def moment(value: str) -> str:
    """RFC 3339 to the second, as it came."""
    return diffs.plain(re.sub(r"\.\d+", "", value))
