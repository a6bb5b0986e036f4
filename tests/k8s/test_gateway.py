"""The Gateway API's resources treat requests as `deploy/gateway/envoy.yaml` does. Read without kubectl."""

import subprocess
from pathlib import Path

import pytest

from checks import gateway
from checks.manifests import FOLDER
from plumbline_stack.gateway import program


def test_both_gateways_treat_every_operation_alike() -> None:
    assert list(gateway.differences(gateway.Template(), gateway.Resources.of_base())) == []


def test_every_route_of_envoy_is_compared() -> None:
    assert list(gateway.routes_that_nobody_asks_for(gateway.Template())) == []


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/api/v1", "/api/v1/none", "/v1/none"])
def test_what_is_no_operation_has_no_route(path: str) -> None:
    assert gateway.Resources.of_base().route("GET", path) is None


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_the_documents_need_no_token(method: str) -> None:
    resources = gateway.Resources.of_base()
    found = {path: resources.treatment(method, path) for of, path in gateway.operations() if of == method}
    assert {path for path, treatment in found.items() if treatment and not treatment.token} == (
        {"/docs", "/docs/assets/swagger-ui.css", "/openapi.json", "/asyncapi.json"} if method == "GET" else set()
    )


@pytest.mark.parametrize(
    ("duration", "found"),
    [("30s", 30.0), ("1m30s", 90.0), ("250ms", 0.25), ("0.05s", 0.05), ("0s", 0.0), ("2h", 7200.0)],
)
def test_durations(duration: str, found: float) -> None:
    assert gateway.seconds(duration) == found


@pytest.mark.parametrize(("quantity", "found"), [("64Ki", 65536), ("8Mi", 8388608), (5, 5)])
def test_quantities(quantity: str | int, found: int) -> None:
    assert gateway.size(quantity) == found


def test_envoy_takes_the_configuration_of_the_documents(tmp_path: Path) -> None:
    for name in ("docs.html", "openapi.json", "asyncapi.json"):
        (tmp_path / name).write_bytes((gateway.GATEWAY / name).read_bytes())
    text = (FOLDER / "base/documents-envoy.yaml").read_text()
    (tmp_path / "envoy.yaml").write_text(text.replace("/srv/documents", str(tmp_path)))
    done = subprocess.run(
        [program(), "--mode", "validate", "--log-level", "error", "-c", tmp_path / "envoy.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
