"""What a stack consists of, in the order of its start: waves of children that need the wave before."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from plumbline_stack.children import ChildSpec
from plumbline_stack.config import StackConfig
from plumbline_stack.credentials import Credentials
from plumbline_stack.gateway import Gateway, GatewayOptions
from plumbline_stack.http import answers
from plumbline_stack.keys import Issuer
from plumbline_stack.nats import NatsServer
from plumbline_stack.ports import HOST
from plumbline_stack.postgres import PostgresServer
from plumbline_stack.processes import Command

WORKER = "analysis-worker"
_DAY = 86_400.0
_TOKEN_DAYS = 30
"""A service gets its token for telemetry by its environment, so that it lives as long as the service."""


@dataclass(frozen=True)
class Plan:
    """The parts of one stack, on chosen ports."""

    config: StackConfig
    folder: Path
    ports: Mapping[str, int]
    credentials: Credentials
    issuer: Issuer
    postgres: PostgresServer
    nats: NatsServer
    gateway: Gateway

    @classmethod
    def of(cls, config: StackConfig, folder: Path, ports: Mapping[str, int]) -> "Plan":
        """`folder` is absolute: children have working folders of their own."""
        credentials = Credentials(folder / "secrets")
        issuer = Issuer(folder / "secrets")
        collector = f"http://{HOST}:{ports['collector']}"
        options = GatewayOptions(
            jwt_issuer=issuer.issuer,
            jwt_audience=issuer.audience,
            jwks=issuer.jwks_path,
            fault_secret=credentials.get("fault"),
            traces_endpoint=config.otlp_traces_endpoint or f"{collector}/v1/traces",
            metrics_endpoint=f"{collector}/v1/metrics",
            traced_percent=config.traced_percent,
            stats_interval=f"{config.otlp_interval:g}s",
            environment=config.environment,
            rate_limit_per_second=config.rate_limit_per_second,
            rate_limit_burst=config.rate_limit_burst,
            concurrent_requests=config.concurrent_requests,
        )
        service_ports = {name: ports[name] for name in ("requirements", "search", "analysis")}
        return cls(
            config,
            folder,
            ports,
            credentials,
            issuer,
            PostgresServer(folder, ports["postgres"], credentials, durable=config.durable),
            NatsServer(
                folder,
                ports["nats"],
                ports["nats_monitor"],
                credentials,
                sync_interval=config.nats_sync_interval,
            ),
            Gateway(folder, ports["gateway"], service_ports, options),
        )

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def urls(self) -> dict[str, str]:
        """Where everything listens, without passwords."""
        found = {name: f"http://{HOST}:{self.ports[name]}" for name in (*self.config.services, "collector")}
        return {
            "gateway": self.gateway.url,
            "docs": f"{self.gateway.url}/docs",
            **found,
            "postgres": f"postgresql://{HOST}:{self.ports['postgres']}/plumbline",
            "nats": f"nats://{HOST}:{self.ports['nats']}",
            "nats_monitor": self.nats.monitor_url,
        }

    def servers(self) -> list[ChildSpec]:
        """The first wave: what everything else needs."""

        async def prepare_postgres() -> None:
            await self.postgres.prepare(self.log("postgres"))

        async def prepare_nats() -> None:
            self.nats.prepare()

        return [
            ChildSpec(
                "postgres",
                self.postgres.command,
                self.postgres.ready,
                prepare=prepare_postgres,
                settle=self.postgres.initialise,
                port=self.ports["postgres"],
                start_deadline=180,  # recovery after a crash takes its time
                stop_deadline=30,
            ),
            ChildSpec(
                "nats",
                self.nats.command,
                self.nats.ready,
                prepare=prepare_nats,
                port=self.ports["nats"],
                start_deadline=300,
            ),
            self._collector(),
        ]

    def _collector(self) -> ChildSpec:
        port = self.ports["collector"]
        url = f"http://{HOST}:{port}"
        argv = [sys.executable, "-m", "plumbline_stack.collector", str(self.folder), str(port)]
        argv += [self.gateway.url, str(self.config.otlp_interval), self.config.environment]

        async def ready() -> bool:
            return await answers(f"{url}/healthz")

        return ChildSpec(
            "collector",
            lambda: Command(argv, niceness=self.config.niceness),
            ready,
            port=port,
            url=url,
            stop_deadline=8,
            start_deadline=60,
        )

    def migrations(self) -> dict[str, Command]:
        """The second wave: a command per service that ends when its schema is up to date."""
        if not self.config.migrate:
            return {}
        return {
            name: Command(
                [sys.executable, "-m", "plumbline_common.migrate", f"plumbline_{name}"],
                {f"PLUMBLINE_{name.upper()}_OWNER_DATABASE_URL": self.postgres.owner_dsn(name)},
                cwd=self.folder,
            )
            for name in self.config.services
        }

    def services(self) -> list[ChildSpec]:
        """The third wave: the services, and the worker of the jobs of one."""
        works = "analysis" in self.config.services and self.config.service_argv is None
        return [*(self._service(name) for name in self.config.services), *([self._worker()] if works else [])]

    def _service(self, name: str) -> ChildSpec:
        port = self.ports[name]
        url = f"http://{HOST}:{port}"

        async def ready() -> bool:
            return await answers(f"{url}/readyz")

        def command() -> Command:
            argv = self.config.service_argv or _uvicorn
            return Command(
                argv(name, port, self.config.workers),
                self._environment(name),
                cwd=self.folder,
                niceness=self.config.niceness,
            )

        return ChildSpec(
            name,
            command,
            ready,
            port=port,
            url=url,
            start_deadline=300,
            stop_deadline=15,
            max_age=(_TOKEN_DAYS - 1) * _DAY,
        )

    def _worker(self) -> ChildSpec:
        health_file = self.folder / f"{WORKER}.health"
        argv = [sys.executable, "-m", "plumbline_analysis.job_worker"]
        argv += ["--processes", str(self.config.job_processes), "--health-file", str(health_file)]

        async def prepare() -> None:
            health_file.unlink(missing_ok=True)

        async def ready() -> bool:
            return health_file.exists()

        return ChildSpec(
            WORKER,
            lambda: Command(
                argv, self._environment("analysis", WORKER), cwd=self.folder, niceness=self.config.niceness
            ),
            ready,
            prepare=prepare,
            start_deadline=300,
            stop_deadline=15,
            max_age=(_TOKEN_DAYS - 1) * _DAY,
        )

    def front(self) -> list[ChildSpec]:
        """The last wave: the door opens when all is ready behind it."""

        async def prepare() -> None:
            self.gateway.prepare()

        return [
            ChildSpec(
                "gateway",
                self.gateway.command,
                self.gateway.ready,
                prepare=prepare,
                before_stop=self.gateway.drain,
                port=self.gateway.port,
                url=self.gateway.url,
                stop_deadline=5,
            )
        ]

    def _environment(self, name: str, process: str | None = None) -> dict[str, str]:
        """What a process of the service `name` is told; `process` is what telemetry calls it."""
        config, process = self.config, process or name
        collector = f"http://{HOST}:{self.ports['collector']}"
        token = self.issuer.token("ingest", subject=f"plumbline-{process}", expires_in=_TOKEN_DAYS * _DAY)
        own = {
            "ENVIRONMENT": config.environment,
            "DATABASE_URL": self.postgres.dsn(name),
            "NATS_URL": self.nats.url(name),
            "JWKS_URI": self.issuer.jwks_uri,
            "JWT_ISSUER": self.issuer.issuer,
            "JWT_AUDIENCE": self.issuer.audience,
        }
        if name == "analysis":
            own["EXTERNAL_URL"] = self.gateway.url
        return {
            "PYTHONUNBUFFERED": "1",
            "OTEL_SERVICE_NAME": f"plumbline-{process}",
            "OTEL_RESOURCE_ATTRIBUTES": ",".join(
                ("service.namespace=plumbline", f"deployment.environment.name={config.environment}")
            ),
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": config.otlp_traces_endpoint or f"{collector}/v1/traces",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{collector}/v1/logs",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{self.gateway.url}/v1/metrics",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS": f"Authorization={quote(f'Bearer {token}')}",
            "OTEL_METRIC_EXPORT_INTERVAL": str(int(config.otlp_interval * 1000)),
            # A trace can be looked at soon after its request.
            "OTEL_BSP_SCHEDULE_DELAY": "500",
            "OTEL_BLRP_SCHEDULE_DELAY": "1000",
            **{f"PLUMBLINE_{name.upper()}_{key}": value for key, value in own.items()},
            **config.extra_env,
        }


def _uvicorn(name: str, port: int, workers: int) -> list[str]:
    argv = [sys.executable, "-m", "uvicorn", f"plumbline_{name}.main:create_app", "--factory"]
    argv += ["--host", HOST, "--port", str(port), "--workers", str(workers)]
    # The gateway logs requests, and drops idle connections before the service does.
    return [*argv, "--no-access-log", "--timeout-keep-alive", "30", "--timeout-graceful-shutdown", "10"]
