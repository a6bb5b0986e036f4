"""What a process of a worker's pool does. It imports little: a process that was killed is soon replaced."""

from collections.abc import Callable
from typing import Any, TypeVar

from plumbline_common import offload

T = TypeVar("T")


def perform(run: Callable[[Any, Callable[[float, str], None]], T], inputs: Any) -> T:
    """What a job's work, or a step of it, comes to; how far it is goes to the worker."""
    return run(inputs, _report)


def _report(share: float, message: str) -> None:
    offload.report((min(max(share, 0.0), 1.0), message))
