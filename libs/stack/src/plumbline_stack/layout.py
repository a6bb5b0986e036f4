"""Where the files lie that the stack shares with other deployments."""

from pathlib import Path

SERVICES = ("requirements", "search", "analysis")


def owner(service: str) -> str:
    """The PostgreSQL role that owns a service's schema: migrations use it, and nothing else."""
    return f"{service}_owner"


class IncompleteCheckout(Exception):
    """A file of `deploy/` is missing: the stack runs from a checkout of the whole suite."""


def deployment_file(name: str) -> Path:
    """The path of `deploy/<name>`. Raises IncompleteCheckout where it isn't there."""
    path = Path(__file__).resolve().parents[4] / "deploy" / name
    if not path.is_file():
        raise IncompleteCheckout(f"{path} is missing: the embedded stack runs from a checkout of Plumbline")
    return path
