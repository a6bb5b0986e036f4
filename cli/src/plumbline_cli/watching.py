"""What `watch` commands share: a question that is asked again and again, and how its answers are shown."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import httpx
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from plumbline_cli import shell
from plumbline_cli.client import Gateway, Refused
from plumbline_cli.shell import Caller, console

Output = Literal["table", "json"]
Format = Annotated[
    Output,
    typer.Option(
        "--output",
        "-o",
        help="table: redrawn in a terminal, lines of what is new elsewhere; json: the same as JSON lines",
    ),
]
Every = Annotated[float, typer.Option("--every", min=0.5, max=3600, help="Seconds from one look to the next")]
Answer = dict[str, Any]
Item = Mapping[str, Any]
_PASSING = (429, 500, 502, 503, 504)
_REMEMBERED = 10_000


@dataclass(frozen=True)
class View:
    """How a thing is watched."""

    ask: Callable[[Gateway], Awaitable[Answer]]
    picture: Callable[[Answer], RenderableType]
    """All of an answer, for a terminal."""
    news: Callable[[Answer], Sequence[Item]]
    """What is new in an answer since the one before, the oldest first."""
    line: Callable[[Item], Text]
    """News in one line."""


class Changes:
    """The news of a page of things with a revision, the newest first: those that are new or have changed."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def __call__(self, answer: Answer) -> Sequence[Item]:
        found = [item for item in reversed(answer["items"]) if self._told.get(item["id"]) != item["revision"]]
        for item in found:
            self._told.pop(item["id"], None)
            self._told[item["id"]] = item["revision"]
        for forgotten in list(self._told)[:-_REMEMBERED]:
            del self._told[forgotten]
        return found


def watch(caller: Caller, view: View, every: float, output: Output) -> None:
    """Show `view` until Ctrl-C, which is its usual end: the exit code is 0.

    A gateway that does not answer for a while is told of and asked again; what it refuses ends it.
    """
    with contextlib.suppress(KeyboardInterrupt):
        if output == "table" and console.is_terminal:
            with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
                asyncio.run(_redrawn(caller, view, every, live))
        else:
            asyncio.run(_told(caller, view, every, output))


def newest(
    caller: Caller,
    path: str,
    picture: Callable[[Answer], RenderableType],
    styles: Mapping[str, str],
    every: float,
    output: Output,
    **asked: Any,
) -> None:
    """As `watch`, the newest things at `path` that began some time: anomalies, incidents."""

    def line(item: Item) -> Text:
        said = (shell.moment(item["onset"]), item["state"], item["severity"], item["title"], item["id"])
        return Text(" ").join(shell.text(each, styles) for each in said)

    view = View(ask=lambda gateway: gateway.get(path, **asked), picture=picture, news=Changes(), line=line)
    watch(caller, view, every, output)


async def _redrawn(caller: Caller, view: View, every: float, live: Live) -> None:
    picture: RenderableType = ""
    while True:
        answer = await _asked(caller, view)
        if isinstance(answer, str):
            live.update(Group(picture, Text(answer, style="yellow")), refresh=True)
        else:
            picture = view.picture(answer)
            live.update(picture, refresh=True)
        await asyncio.sleep(every)


async def _told(caller: Caller, view: View, every: float, output: Output) -> None:
    while True:
        answer = await _asked(caller, view)
        if isinstance(answer, str):
            shell.errors.print(answer, markup=False, soft_wrap=True)
        else:
            for item in view.news(answer):
                said = json.dumps(item, ensure_ascii=False) if output == "json" else view.line(item).plain
                typer.echo(said)
        await asyncio.sleep(every)


async def _asked(caller: Caller, view: View) -> Answer | str:
    """The answer, or why there is none now. Raises `Refused` where there will be none later either."""
    try:
        # Anew for each look: a token of the local stack lasts for less than a watch may.
        async with caller.gateway() as gateway:
            return await view.ask(gateway)
    except httpx.TransportError as error:
        return f"no answer ({error or type(error).__name__}), trying again"
    except Refused as error:
        if error.status not in _PASSING:
            raise
        return f"{error}, trying again"
