"""What the event-loop watchdog costs: turns of a busy loop a second, with it and without it, pair by pair."""

import asyncio
import statistics
import time

import harness

from plumbline_common.watchdog import Watchdog

ROUNDS = 7
SECONDS = 1.0


async def turns() -> float:
    """Turns of the loop a second while it has something to do in each."""
    count, end = 0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        await asyncio.sleep(0)
        count += 1
    return count / SECONDS


async def main() -> None:
    await turns()
    ratios, rates = [], []
    for _ in range(ROUNDS):
        without = await turns()
        async with Watchdog(0.1):
            rates.append(await turns())
        ratios.append(rates[-1] / without)
    ratio = statistics.median(ratios)
    harness.row(
        "watchdog",
        "loop_turns_with_watchdog",
        statistics.median(rates),
        "turns/s",
        against="the same loop without it",
        ratio=ratio,
        bar=0.95,
        ok=ratio >= 0.95,
    )


if __name__ == "__main__":
    asyncio.run(main())
