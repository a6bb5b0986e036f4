"""Who is served now, who waits and who is sent away, so that what is taken is answered soon however much comes.

A process works on so many requests at once; others wait in line, for `PATIENCE` at most. Who waited in vain gets 429
with Retry-After: not 503, which a gateway takes as the fault of this one process. Nobody is refused sooner unless the
line is very long: a refusal costs a tenth of an answer, and the gateway sends the next one as soon as it has it.

How many are worked on at once adapts, as a sender's window does: where some had to wait and even the quickest
success of a while took `LONG`, they hinder each other, and half as many take their turns; else one more may.

A request is at work until its response begins: a stream that goes on, a body that is still to come and a wait for
somebody else's server (`leave`) keep nobody from being served.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Collection
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATIENCE = 0.4
"""Seconds."""
LONG = 0.2
WHILE = 0.3
FEWEST = 4


class Line:
    """Turns for `most` at once, in the order of arrival, with `longest` waiting at most."""

    def __init__(self, most: int, longest: int) -> None:
        self.size = most
        """So many turns at once for now."""
        self._most = most
        self._longest = longest
        self._working = 0
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._began = -math.inf
        self._quickest = math.inf
        self._crowded = False

    async def enter(self) -> bool:
        """Whether there was a turn within the time; each ends with `leave`."""
        loop = asyncio.get_running_loop()
        if not self._waiting and self._working < self.size:
            self._working += 1
            return True
        self._crowded = True
        if len(self._waiting) >= self._longest:
            return False
        turn: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(turn)
        timer = loop.call_later(PATIENCE, self._give_up, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave()
            raise
        finally:
            timer.cancel()

    def leave(self) -> None:
        self._working -= 1
        while self._waiting and self._working < self.size:
            turn = self._waiting.popleft()
            if not turn.done():
                self._working += 1
                turn.set_result(True)

    def took(self, seconds: float) -> None:
        """How long the work of a turn was that succeeded."""
        now = asyncio.get_running_loop().time()
        self._quickest = min(self._quickest, seconds)
        if now - self._began < WHILE:
            return
        if self._crowded:
            hindered = self._quickest > LONG
            self.size = max(FEWEST, self.size // 2) if hindered else min(self._most, self.size + 1)
        self._began, self._quickest, self._crowded = now, math.inf, False

    def _give_up(self, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            turn.set_result(False)
            self._waiting.remove(turn)


class _Turn:
    """Of one request; it ends once."""

    def __init__(self, line: Line) -> None:
        self._line: Line | None = line
        self._began = asyncio.get_running_loop().time()

    def end(self, succeeded: bool = False) -> None:
        if (line := self._line) is not None:
            self._line = None
            if succeeded:
                line.took(asyncio.get_running_loop().time() - self._began)
            line.leave()


_turn: ContextVar[_Turn | None] = ContextVar("turn", default=None)


def leave() -> None:
    """Let the next one in: from here on the request that is at work waits for somebody outside. Does nothing where
    there is none."""
    if (turn := _turn.get()) is not None:
        turn.end()


class Admission:
    """Lets up to `most` requests at once through to `app`; those of the paths `always` without a turn. What `refuse`
    makes answers who is sent away."""

    def __init__(self, app: ASGIApp, most: int, always: Collection[str], refuse: Callable[[Scope], ASGIApp]) -> None:
        self._app = app
        self._refuse = refuse
        self._line = Line(most, 16 * most)
        self._always = frozenset(always)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._always:
            await self._app(scope, receive, send)
            return
        if not await self._line.enter():
            await self._refuse(scope)(scope, receive, send)
            return
        turn = _Turn(self._line)
        _turn.set(turn)

        async def begun(message: Message) -> None:
            if message["type"] == "http.response.start":
                turn.end(message["status"] < 400)
            await send(message)

        try:
            await self._app(scope, receive, begun)
        finally:
            turn.end()
