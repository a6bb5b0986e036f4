"""Runs a stack with stand-in services as a process: `run_stack.py '{"folder": …, "ports": {…}}'`."""

import asyncio
import json
import sys
from pathlib import Path

from plumbline_stack.config import StackConfig
from plumbline_stack.supervisor import Stack, run_foreground

given = json.loads(sys.argv[1])
standin = Path(__file__).with_name("standin_service.py")


def argv(name: str, port: int, workers: int) -> list[str]:
    return [sys.executable, str(standin), name, str(port)]


async def wait(stack: Stack) -> None:
    await asyncio.Event().wait()


if __name__ == "__main__":
    config = StackConfig(
        folder=Path(given["folder"]), ports=given["ports"], service_argv=argv, migrate=False, otlp_interval=1.0
    )
    asyncio.run(run_foreground(config, wait))
