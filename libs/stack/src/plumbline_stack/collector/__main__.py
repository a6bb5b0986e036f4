"""The collector's process: `python -m plumbline_stack.collector FOLDER PORT GATEWAY_URL INTERVAL ENVIRONMENT`.

FOLDER is the stack's state folder, INTERVAL the seconds between collections of host metrics.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from plumbline_stack.collector import host
from plumbline_stack.collector.app import create_app
from plumbline_stack.collector.forwarding import Forwarder
from plumbline_stack.collector.metrics import normalise
from plumbline_stack.collector.sampling import sample
from plumbline_stack.collector.store import Store
from plumbline_stack.keys import Issuer
from plumbline_stack.ports import HOST


def main() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    folder, port, gateway, interval, environment = sys.argv[1:6]
    state = Path(folder) / "collector"
    state.mkdir(mode=0o700, exist_ok=True)
    store = Store(state / "telemetry.sqlite")
    issuer = Issuer(Path(folder) / "secrets")
    traces = Forwarder("traces", f"{gateway}/v1/traces", issuer)
    metrics = Forwarder("metrics", f"{gateway}/v1/metrics", issuer)
    logs = Forwarder("logs", f"{gateway}/v1/logs", issuer)

    def put_traces(message: ExportTraceServiceRequest) -> None:
        if sample(message):
            traces.put(message)

    def put_metrics(message: ExportMetricsServiceRequest) -> None:
        normalise(message)
        metrics.put(message)

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        sending = [asyncio.create_task(each.run()) for each in (traces, metrics, logs)]
        provider = host.measure(metrics.put, float(interval), environment)
        try:
            yield
        finally:
            await asyncio.to_thread(provider.shutdown)
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            store.close()

    app = create_app(store, put_traces, put_metrics, logs.put, lifespan)
    uvicorn.run(app, host=HOST, port=int(port), log_level="warning", access_log=False, timeout_graceful_shutdown=3)


if __name__ == "__main__":
    main()
