"""What a kind of job is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import Job
from plumbline_analysis.settings import Settings
from plumbline_common.schemas import Schema

P = TypeVar("P", bound=Schema)
I = TypeVar("I")  # noqa: E741 - inputs
F = TypeVar("F")

Report = Callable[[float, str], None]
"""Takes how far the work is, from 0 to 1, and what it is at."""


@dataclass(frozen=True)
class Kind(Generic[P, I]):
    """`gather` reads what the work needs, `run` does it: pure, in a process that may be killed at any point.

    Both raise a `PlumblineError` for what no other attempt would change. The result is JSON.
    """

    name: str
    parameters: type[P]
    gather: Callable[[AsyncSession, P, Settings], Awaitable[I]]
    run: Callable[[I, Report], dict[str, Any]]


@dataclass(frozen=True)
class Step(Generic[F]):
    """What one step of the work came to: what it `found`, how far the job is then and what it is at, and the
    `checkpoint` that the next step begins with; the last step has the job's `result` instead."""

    found: F
    share: float = 1.0
    message: str = ""
    checkpoint: bytes = b""
    result: dict[str, Any] | None = None


@dataclass(frozen=True)
class Stepwise(Generic[P, I, F]):
    """Work that writes, or that is too long to be done twice, in steps of a second or so.

    `gather` reads what the next step needs, from the checkpoint of the last (None for the first); `run` does it, pure
    as that of a `Kind`; `store` writes what was found in the transaction that keeps the checkpoint, and only while
    the job is still the worker's. So each step has its effect once, and another worker goes on after the last.
    """

    name: str
    parameters: type[P]
    gather: Callable[[AsyncSession, P, bytes | None, Settings], Awaitable[I]]
    run: Callable[[I, Report], Step[F]]
    store: Callable[[AsyncSession, Job, F], Awaitable[None]]


AnyKind = Kind[Any, Any] | Stepwise[Any, Any, Any]
