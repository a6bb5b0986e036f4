"""What the event-loop watchdog costs: turns of a busy loop per second of CPU, with it and without it, in pairs."""

import asyncio
import statistics
import time

import harness

from plumbline_common.watchdog import Watchdog

ROUNDS = 20
TURNS = 200_000


async def turns() -> float:
    """Turns of the loop per second of CPU, that of all threads, while it has something to do in each."""
    began = time.process_time()
    for _ in range(TURNS):
        await asyncio.sleep(0)
    return TURNS / (time.process_time() - began)


async def main() -> None:
    await turns()
    ratios, rates = [], []
    for number in range(ROUNDS):
        first = await turns() if number % 2 else 0.0
        async with Watchdog(0.1):
            rates.append(await turns())
        ratios.append(rates[-1] / (first or await turns()))
    ratio = statistics.median(ratios)
    harness.row(
        "watchdog",
        "loop_turns_with_watchdog",
        statistics.median(rates),
        "turns per CPU second",
        against="the same loop without it",
        ratio=ratio,
        bar=0.95,
        ok=ratio >= 0.95,
    )


if __name__ == "__main__":
    asyncio.run(main())
