"""The API as it runs in production, on the port that is given, with the blocks of its event loop to be read.

`GET /blocks` tells what a watchdog of 100 ms has reported since the service was ready; `POST /blocks` makes one.
"""

import asyncio
import sys
import time

import uvicorn
import uvloop

from plumbline_analysis.main import create_app
from plumbline_analysis.settings import Settings
from plumbline_common.watchdog import Watchdog

BLOCK_SECONDS = 0.4


async def main(port: int) -> None:
    app = create_app(Settings())
    watchdog = Watchdog(0.1)

    @app.get("/blocks")
    async def blocks() -> list[str]:
        return [f"{each.place}: {each.seconds:.3f} s" for each in watchdog.blocks]

    @app.post("/blocks", status_code=204)
    async def block() -> None:
        time.sleep(BLOCK_SECONDS)  # noqa: TID251, ASYNC251 - so that the reading is seen to fail

    server = uvicorn.Server(uvicorn.Config(app, port=port, access_log=False))
    serving = asyncio.create_task(server.serve())
    while not (server.started or serving.done()):
        await asyncio.sleep(0.02)
    async with watchdog:
        print("ready", flush=True)  # noqa: T201
        await serving


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
