"""What a kind of job is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.settings import Settings
from plumbline_common.schemas import Schema

P = TypeVar("P", bound=Schema)
I = TypeVar("I")  # noqa: E741 - inputs

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
