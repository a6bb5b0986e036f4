"""What a stack is told: its folder, ports and options."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from plumbline_stack.layout import SERVICES

DEFAULT_FOLDER = Path(".plumbline")
DEFAULT_PORTS: Mapping[str, int] = MappingProxyType(
    {
        "gateway": 8080,
        "requirements": 8081,
        "search": 8082,
        "analysis": 8083,
        "collector": 4318,
        "nats": 4222,
        "nats_monitor": 8222,
        "postgres": 5432,
    }
)
_DURATION = re.compile(r"always|(\d+(\.\d+)?(ns|us|ms|s|m|h))+")

ServiceArgv = Callable[[str, int, int], Sequence[str]]
"""Name, port and number of workers of a service to the program that serves it."""


@dataclass(frozen=True)
class StackConfig:
    """A stack. Ports that are missing or taken are replaced by free ones; everything listens on 127.0.0.1.

    `workers` are uvicorn's processes per service, `job_processes` those of the worker of jobs. `otlp_interval` is the
    seconds between two exports of metrics. `nats_sync_interval` is Go's duration, or `always`. `otlp_traces_endpoint`
    sends the traces of the services and the gateway elsewhere than to the collector (a full URL). `extra_env` is
    added to the environment of the services. `niceness` is theirs, under the gateway's: where processors are few, it
    can refuse in time what is too much. `traced_percent`, `concurrent_requests`,
    `rate_limit_per_second` and `rate_limit_burst` are the gateway's. `durable=False` turns PostgreSQL's fsync off.
    `anew` empties the folder before the start. `service_argv` replaces the services' own programs, and
    `migrate=False` leaves their migrations out.
    """

    folder: Path = DEFAULT_FOLDER
    ports: Mapping[str, int] = field(default_factory=dict)
    workers: int = 1
    job_processes: int = 1
    otlp_interval: float = 2.0
    nats_sync_interval: str = "1s"
    environment: str = "development"
    extra_env: Mapping[str, str] = field(default_factory=dict)
    otlp_traces_endpoint: str | None = None
    traced_percent: int = 100
    concurrent_requests: int = 64
    rate_limit_per_second: int = 2000
    rate_limit_burst: int = 4000
    durable: bool = True
    anew: bool = False
    services: tuple[str, ...] = SERVICES
    service_argv: ServiceArgv | None = None
    migrate: bool = True
    niceness: int = 0

    def __post_init__(self) -> None:
        unknown = set(self.ports) - set(DEFAULT_PORTS)
        if unknown:
            raise ValueError(f"no such port: {', '.join(sorted(unknown))}; there are {', '.join(DEFAULT_PORTS)}")
        if not _DURATION.fullmatch(self.nats_sync_interval):
            raise ValueError(
                f"a sync interval is a duration such as 200ms or 1s, or always: {self.nats_sync_interval}"
            )

    def wanted_ports(self) -> dict[str, int]:
        """What was asked for, and the defaults."""
        return {**DEFAULT_PORTS, **self.ports}
