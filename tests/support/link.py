"""A way to a server that a test cuts and mends: to whoever uses it the server is down."""

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter


class Link:
    """From `port` to the server at `behind`, both of 127.0.0.1. It is cut until `mend`."""

    def __init__(self, port: int, behind: int) -> None:
        self.port = port
        self._behind = behind
        self._server: asyncio.Server | None = None
        self._ends: set[StreamWriter] = set()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for end in self._ends:
            end.transport.abort()

    async def _join(self, reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(OSError):
            answers, asking = await asyncio.open_connection("127.0.0.1", self._behind)
            self._ends |= {writer, asking}
            await asyncio.gather(self._pass(reader, asking), self._pass(answers, writer))

    async def _pass(self, reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()
        self._ends.discard(writer)
