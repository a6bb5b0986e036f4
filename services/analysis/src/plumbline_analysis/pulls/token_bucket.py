"""How often a source may be asked."""

import asyncio
import time


class TokenBucket:
    """`rate` requests a second, and `burst` of them at once after a pause; who comes early waits, in turn.

    Kept as one instant, that at which the bucket is full again (the generic cell rate algorithm, ITU-T I.371). The
    clock is the monotonic one: the wall's may step.
    """

    def __init__(self, rate: float, burst: int = 5) -> None:
        self._interval = 1 / rate
        self._tolerance = (burst - 1) * self._interval
        self._full_at = time.monotonic()

    async def take(self) -> None:
        now = time.monotonic()
        full_at = max(now, self._full_at)
        self._full_at = full_at + self._interval
        if (wait := full_at - self._tolerance - now) > 0:
            await asyncio.sleep(wait)
