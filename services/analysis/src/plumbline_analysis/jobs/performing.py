"""What a process of a worker's pool does. It imports little: a process that was killed is soon replaced."""

from collections.abc import Callable
from typing import Any

from plumbline_common import offload


def perform(run: Callable[[Any, Callable[[float, str], None]], dict[str, Any]], inputs: Any) -> dict[str, Any]:
    """The result of a job's work; how far it is goes to the worker."""
    return run(inputs, _report)


def _report(share: float, message: str) -> None:
    offload.report((min(max(share, 0.0), 1.0), message))
