"""One whole stack with stand-in services for the tests of this package."""

import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from plumbline_stack import ports
from plumbline_stack.config import DEFAULT_PORTS, StackConfig
from plumbline_stack.supervisor import Stack

STANDIN = Path(__file__).with_name("standin_service.py")


def standin(name: str, port: int, workers: int) -> list[str]:
    return [sys.executable, str(STANDIN), name, str(port)]


@pytest.fixture(scope="session")
def new_config() -> Iterator[Callable[..., StackConfig]]:
    """Makes configurations with folders and ports of their own and stand-in services."""
    with tempfile.TemporaryDirectory(prefix="plumbline-stack-test-") as name:
        base = Path(name)
        base.chmod(0o755)  # PostgreSQL's account passes through it

        def make(folder: str, **options: object) -> StackConfig:
            # Held for a moment, so that no port is chosen twice.
            with contextlib.closing(ports.Reservations()) as reservations:
                chosen = {name: reservations.take(ports.choose()) for name in DEFAULT_PORTS}
            settings: dict[str, object] = {
                "folder": base / folder,
                "ports": chosen,
                "service_argv": standin,
                "migrate": False,
                "durable": False,
                "otlp_interval": 0.5,
            }
            return StackConfig(**{**settings, **options})  # type: ignore[arg-type]

        yield make


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(new_config: Callable[..., StackConfig]) -> AsyncIterator[Stack]:
    async with Stack(new_config("shared")) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway with a viewer's token."""
    headers = {"authorization": f"Bearer {stack.token('viewer')}"}
    async with httpx.AsyncClient(base_url=stack.urls["gateway"], headers=headers, timeout=10) as client:
        yield client
