"""One worker process from its start to its end."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from sqlalchemy.ext.asyncio import async_sessionmaker

from plumbline_analysis.job_worker.worker import JobWorker
from plumbline_analysis.jobs.kind import AnyKind
from plumbline_analysis.settings import Settings
from plumbline_common import bus, db, offload, telemetry, web
from plumbline_common.watchdog import Watchdog

log = logging.getLogger(__name__)

NAME = "plumbline-analysis-worker"


async def serve(
    settings: Settings,
    kinds: Mapping[str, AnyKind],
    processes: int,
    health_file: Path | None = None,
    initializer: Callable[[], object] | None = None,
) -> None:
    """Work until SIGTERM or SIGINT. `initializer` runs once in each process of the pool."""
    async with contextlib.AsyncExitStack() as stack:
        flush = telemetry.set_up(NAME, settings.environment, version("plumbline-analysis"))
        stack.push_async_callback(asyncio.to_thread, flush)
        if settings.watchdog_threshold is not None:
            await stack.enter_async_context(Watchdog(settings.watchdog_threshold))
        engine = db.create_engine(settings, NAME)
        stack.push_async_callback(engine.dispose)
        broker = bus.Broker(settings.nats_url, NAME, settings.stream_replicas, settings.nats_context)
        stack.push_async_callback(broker.close)
        await stack.enter_async_context(web.background("connection to nats", broker.stay_connected))
        pool = await stack.enter_async_context(offload.ProcessPool(processes, initializer))
        worker = JobWorker(
            async_sessionmaker(engine, expire_on_commit=False),
            async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False),
            settings,
            pool,
            broker,
            processes,
            kinds,
            health_file,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        log.info("%s works in %d processes", worker.name, processes)
        await worker.run()
