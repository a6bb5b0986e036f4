"""Fills in envoy.yaml from the environment and becomes Envoy. `<NAME>_FILE` names a file that holds the value."""

import os
import string
import sys
from pathlib import Path

HERE = Path(__file__).parent
CONFIG = Path("filled.yaml")  # in the working folder, where the admin socket is too
_PLAIN = (
    '{name: raw_buffer, typed_config: {"@type": '
    "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}"
)
DEFAULTS = {
    "GATEWAY_ADDRESS": "0.0.0.0",  # noqa: S104
    "GATEWAY_PORT": "8080",
    "ADMIN_SOCKET": "admin.sock",
    "GATEWAY_FILES": str(HERE),
    "HEALTH_CHECKS": "[{timeout: 2s, interval: 5s, no_traffic_interval: 5s, unhealthy_threshold: 3, "
    "healthy_threshold: 1, http_health_check: {path: /readyz}}]",
    "JWKS_KIND": "local_jwks",
    "JWKS_HOST": "127.0.0.1",
    "JWKS_PORT": "1",
    "JWKS_TRANSPORT": _PLAIN,
    "SERVICES_TRANSPORT": _PLAIN,
    "OTLP_TRACES_PATH": "/v1/traces",
    "OTLP_METRICS_PATH": "/v1/metrics",
    "STATS_INTERVAL": "10s",
    "TRACE_SAMPLER": (HERE / "sampler.json").read_text().strip(),
    "ENVIRONMENT": "production",
    "RATE_LIMIT_PER_SECOND": "1000",
    "RATE_LIMIT_BURST": "2000",
    "SUBJECT_RATE_LIMIT_PER_SECOND": "100",
    "SUBJECT_RATE_LIMIT_BURST": "200",
    "ADDRESS_RATE_LIMIT_PER_SECOND": "200",
    "ADDRESS_RATE_LIMIT_BURST": "400",
    "CONCURRENT_REQUESTS": "64",
    "TRUSTED_PROXIES": "0",
    "MAX_REQUEST_BYTES": str(8 * 1024 * 1024),
    "MAX_HEADERS_KB": "32",
    "HEADERS_TIMEOUT": "10s",
    "REQUEST_TIMEOUT": "60s",
    "ROUTE_TIMEOUT": "30s",
    "FAULT_SECRET": "",
}


def main() -> None:
    values = DEFAULTS | {name: value for name, value in os.environ.items() if value}
    for name in [name for name in values if name.endswith("_FILE")]:
        try:
            values[name.removesuffix("_FILE")] = Path(values[name]).read_text().strip()
        except OSError as error:
            sys.exit(f"{name} names a file that cannot be read: {error}")
    try:
        filled = string.Template((HERE / "envoy.yaml").read_text()).substitute(values)
    except KeyError as missing:
        sys.exit(f"{missing.args[0]} is not set; the first lines of envoy.yaml tell what it is")
    CONFIG.touch(mode=0o600)
    CONFIG.write_text(filled)
    arguments = ["--config-path", str(CONFIG), "--disable-hot-restart", "--log-level", "warning"]
    # At each start it would say again which parts of the template it calls work in progress.
    arguments += ["--component-log-level", "misc:error"]
    os.execvp("envoy", ["envoy", *arguments, *sys.argv[1:]])  # noqa: S606, S607


if __name__ == "__main__":
    main()
