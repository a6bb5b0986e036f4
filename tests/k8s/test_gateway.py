"""The Gateway API's resources treat requests as `deploy/gateway/envoy.yaml` does. Read without kubectl."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from checks import gateway
from checks.manifests import FOLDER, documents
from plumbline_stack.gateway import program

DELIVERIES = "/api/v1/deployment-hooks/01980000-0000-7000-8000-000000000000/deliveries"


def test_both_gateways_treat_every_operation_alike() -> None:
    assert list(gateway.differences(gateway.Template(), gateway.Resources.of_base())) == []


def test_every_route_of_envoy_is_compared() -> None:
    assert list(gateway.routes_that_nobody_asks_for(gateway.Template())) == []


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/api/v1", "/api/v1/none", "/v1/none"])
def test_what_is_no_operation_has_no_route(path: str) -> None:
    assert gateway.Resources.of_base().route("GET", path) is None


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_the_documents_and_deliveries_need_no_token(method: str) -> None:
    resources = gateway.Resources.of_base()
    found = {path: resources.treatment(method, path) for of, path in gateway.operations() if of == method}
    assert {path for path, treatment in found.items() if treatment and not treatment.token} == (
        {"/docs", "/docs/assets/swagger-ui.css", "/openapi.json", "/asyncapi.json"}
        if method == "GET"
        else {DELIVERIES}
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
def test_where_deliveries_go_all_else_needs_a_token(method: str) -> None:
    found = [of.treatment(method, DELIVERIES) for of in (gateway.Template(), gateway.Resources.of_base())]
    assert [treatment is not None and treatment.token for treatment in found] == [True, True]


def test_what_no_route_can_refuse_is_told() -> None:
    page = (FOLDER.parents[1] / "docs" / "kubernetes.md").read_text()
    assert [name for name in gateway.REFUSALS if f"`{name}`" not in page] == []


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
    validate(tmp_path)


def test_envoy_takes_the_patches(tmp_path: Path) -> None:
    """In a connection manager like the one that Envoy Gateway makes."""
    kinds = "type.googleapis.com/envoy.extensions.filters"
    jwt = {"@type": f"{kinds}.http.jwt_authn.v3.JwtAuthentication"}
    router = {"@type": f"{kinds}.http.router.v3.Router"}
    filters: list[dict[str, Any]] = [
        {"name": "envoy.filters.http.jwt_authn", "typed_config": jwt},
        {"name": "envoy.filters.http.router", "typed_config": router},
    ]
    manager: dict[str, Any] = {
        "@type": f"{kinds}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "https",
        "common_http_protocol_options": {},
        "http_filters": filters,
        "route_config": {"virtual_hosts": []},
    }
    [policy] = documents((FOLDER / "base/edge.yaml").read_text())
    for patch in policy["spec"]["jsonPatches"]:
        operation = patch["operation"]
        if "jsonPath" in operation:
            before = re.findall(r"@.name == '(.*)'", operation["jsonPath"])
            place = next(i for i, each in enumerate(filters) if each["name"] in before)
            filters.insert(place, operation["value"])
            continue
        *parents, last = operation["path"].removeprefix("/filter_chains/0/filters/0/typed_config/").split("/")
        if parents == ["http_filters"]:
            filters.insert(int(last), operation["value"])
        else:
            (manager[parents[0]] if parents else manager)[last] = operation["value"]
    assert [each["name"].rpartition(".")[2] for each in filters] == [
        *("header_mutation", "address_ratelimit", "jwt_authn", "subject_ratelimit", "router")
    ]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"name": "plumbline/plumbline/https", "address": address, "filter_chains": [chain]}
    (tmp_path / "envoy.yaml").write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    validate(tmp_path)


def validate(folder: Path) -> None:
    done = subprocess.run(
        [program(), "--mode", "validate", "--log-level", "error", "-c", folder / "envoy.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
