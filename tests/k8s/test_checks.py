"""Each check finds nothing in the overlays, and finds what is broken on purpose."""

from collections.abc import Callable
from typing import Any

import pytest

from checks import gateway, network, policy, references, rules, schemas, settings
from checks.__main__ import CHECKS
from checks.manifests import OVERLAYS, KubectlMissing, Manifests

Rendered = Callable[[str], Manifests]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_passes(rendered: Rendered, overlay: str, check: Any) -> None:
    manifests = rendered(overlay)
    try:
        assert list(check(manifests)) == []
    except schemas.SchemasMissing as missing:
        pytest.skip(str(missing))


def deployment(manifests: Manifests, name: str = "search") -> Any:
    return manifests.one("Deployment", name)


def pod(manifests: Manifests, name: str = "search") -> Any:
    return deployment(manifests, name)["spec"]["template"]["spec"]


def container(manifests: Manifests, name: str = "search") -> Any:
    return pod(manifests, name)["containers"][0]


def security(manifests: Manifests) -> Any:
    return container(manifests)["securityContext"]


def drop(manifests: Manifests, kind: str, name: str) -> None:
    manifests.resources.remove(manifests.one(kind, name))


def config(manifests: Manifests, key: str) -> Any:
    return next(c["data"] for c in manifests.kind("ConfigMap") if key in (c.get("data") or {}))


def rule(manifests: Manifests, name: str) -> Any:
    groups = [group for resource in manifests.kind("PrometheusRule") for group in resource["spec"]["groups"]]
    return next(r for group in groups for r in group["rules"] if name in (r.get("alert"), r.get("record")))


def route(manifests: Manifests, name: str = "search-reads") -> Any:
    return manifests.one("HTTPRoute", name)["spec"]["rules"][0]


def traffic(manifests: Manifests, name: str = "reads") -> Any:
    return manifests.one("BackendTrafficPolicy", name)["spec"]


def patch(manifests: Manifests, end: str) -> Any:
    patches = manifests.one("EnvoyPatchPolicy", "edge")["spec"]["jsonPatches"]
    operations = [each["operation"] for each in patches]
    return next(o["value"] for o in operations if end in o.get("path", o.get("jsonPath")))


STRAY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "stray", "namespace": "plumbline"},
    "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 22}]}]},
}

BROKEN: list[tuple[Any, Callable[[Manifests], Any], str]] = [
    # --- policy
    (
        policy.namespace_is_restricted,
        lambda m: m.one("Namespace", "plumbline")["metadata"].pop("labels"),
        "restricted",
    ),
    (
        policy.everything_in_the_namespace,
        lambda m: deployment(m)["metadata"].update(namespace="default"),
        "Deployment search",
    ),
    (policy.pods_are_restricted, lambda m: pod(m).update(hostNetwork=True), "hostNetwork reaches the host"),
    (
        policy.pods_are_restricted,
        lambda m: pod(m)["volumes"].append({"name": "v", "hostPath": {"path": "/"}}),
        "volume v",
    ),
    (policy.pods_are_restricted, lambda m: security(m).update(privileged=True), "is privileged"),
    (policy.pods_are_restricted, lambda m: security(m).update(runAsUser=0), "may run as root"),
    (policy.pods_are_restricted, lambda m: security(m).pop("allowPrivilegeEscalation"), "may gain privileges"),
    (policy.pods_are_restricted, lambda m: security(m).pop("readOnlyRootFilesystem"), "may write to its root"),
    (
        policy.pods_are_restricted,
        lambda m: security(m).update(capabilities={"drop": ["NET_RAW"]}),
        "keeps capabilities",
    ),
    (policy.pods_are_restricted, lambda m: pod(m)["securityContext"].pop("seccompProfile"), "no seccomp profile"),
    (policy.pods_are_restricted, lambda m: container(m)["ports"][0].update(hostPort=80), "takes a port of the host"),
    (policy.pods_are_restricted, lambda m: security(m).update(procMount="Unmasked"), "kernel's settings"),
    (
        policy.images_are_pinned,
        lambda m: container(m).update(image="plumbline/search:latest"),
        "search:latest has no tag",
    ),
    (policy.images_are_pinned, lambda m: container(m).update(image="host:5000/plumbline/search"), "has no tag"),
    (policy.resources_are_set, lambda m: container(m)["resources"]["requests"].pop("cpu"), "no requests of cpu"),
    (policy.resources_are_set, lambda m: container(m)["resources"]["limits"].pop("memory"), "no limits of memory"),
    (policy.resources_are_set, lambda m: m.one("Cluster", "postgres")["spec"].pop("resources"), "Cluster postgres"),
    (policy.probes_are_set, lambda m: container(m).pop("startupProbe"), "no startupProbe"),
    (
        policy.probes_are_set,
        lambda m: container(m, "analysis-worker").update(
            livenessProbe=container(m, "analysis-worker")["readinessProbe"]
        ),
        "only makes it unready",
    ),
    (policy.volumes_are_bounded, lambda m: pod(m)["volumes"][0].update(emptyDir={}), "fill the node's disk"),
    (policy.no_token_is_mounted, lambda m: pod(m).pop("automountServiceAccountToken"), "mounts a token"),
    (policy.no_token_is_mounted, lambda m: pod(m).pop("serviceAccountName"), "default ServiceAccount"),
    (
        policy.no_token_is_mounted,
        lambda m: m.one("ServiceAccount", "search").pop("automountServiceAccountToken"),
        "hands its token",
    ),
    (policy.secrets_stay_secrets, lambda m: config(m, "TOKEN_URL").update(X="nats://a:b@c"), "X looks like a secret"),
    (
        policy.secrets_stay_secrets,
        lambda m: container(m)["env"].append({"name": "A_PASSWORD", "value": "b"}),
        "A_PASSWORD",
    ),
    (
        policy.rollouts_lose_nothing,
        lambda m: deployment(m)["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable=1),
        "before new ones are ready",
    ),
    (policy.rollouts_lose_nothing, lambda m: container(m).pop("lifecycle"), "no preStop"),
    (policy.rollouts_lose_nothing, lambda m: pod(m).update(terminationGracePeriodSeconds=20), "killed after 20 s"),
    (policy.production_is_available, lambda m: drop(m, "PodDisruptionBudget", "search"), "0 PodDisruptionBudgets"),
    (policy.production_is_available, lambda m: pod(m).pop("topologySpreadConstraints"), "not spread over zones"),
    (policy.production_is_available, lambda m: deployment(m)["spec"].update(replicas=3), "and an autoscaler"),
    (policy.production_is_available, lambda m: drop(m, "HorizontalPodAutoscaler", "search"), "has one pod only"),
    # --- schemas
    (schemas.kubernetes_resources_are_valid, lambda m: pod(m).update(restartPolice="Never"), "restartPolice"),
    (
        schemas.kubernetes_resources_are_valid,
        lambda m: deployment(m)["spec"].pop("selector"),
        "'selector' is a required",
    ),
    (
        schemas.kubernetes_resources_are_valid,
        lambda m: container(m)["ports"][0].update(containerPort="x"),
        "is not of type",
    ),
    (
        schemas.kubernetes_resources_are_valid,
        lambda m: deployment(m).update(apiVersion="apps/v9"),
        "has no apps/v9 Deployment",
    ),
    (
        schemas.kubernetes_resources_are_valid,
        lambda m: m.one("Gateway", "plumbline").update(apiVersion="gateway.networking.k8s.io/v2"),
        "has no form in crds.yaml",
    ),
    (schemas.custom_resources_are_valid, lambda m: route(m).update(timeout="30s"), "'timeout' was unexpected"),
    (
        schemas.custom_resources_are_valid,
        lambda m: route(m)["timeouts"].update(request="soon"),
        "'soon' does not match",
    ),
    (schemas.custom_resources_are_valid, lambda m: route(m).pop("backendRefs"), "'backendRefs' is a required"),
    (
        schemas.custom_resources_are_valid,
        lambda m: m.one("Pooler", "postgres-pooler")["spec"]["pgbouncer"].update(poolMode="statement"),
        "'statement' is not one of",
    ),
    # --- references
    (
        references.configuration_is_there,
        lambda m: drop(m, "ExternalSecret", "search"),
        "Secret search, which is not there",
    ),
    (
        references.configuration_is_there,
        lambda m: container(m)["envFrom"][0]["configMapRef"].update(name="x"),
        "ConfigMap x",
    ),
    (
        references.configuration_is_there,
        lambda m: m.one("ExternalSecret", "postgres-search")["spec"]["target"]["template"]["data"].pop("password"),
        "the key password",
    ),
    (references.accounts_are_there, lambda m: drop(m, "ServiceAccount", "search"), "ServiceAccount search"),
    (
        references.selectors_find_pods,
        lambda m: deployment(m)["spec"]["selector"]["matchLabels"].update({"app.kubernetes.io/name": "x"}),
        "does not select its own pods",
    ),
    (
        references.selectors_find_pods,
        lambda m: m.one("Service", "search")["spec"].update(selector={"a": "b"}),
        "of 0 workloads",
    ),
    (
        references.selectors_find_pods,
        lambda m: m.one("Service", "search")["spec"]["ports"][0].update(targetPort="x"),
        "port x",
    ),
    (
        references.probes_ask_a_port,
        lambda m: container(m)["livenessProbe"]["httpGet"].update(port="x"),
        "asks the port x",
    ),
    (references.volumes_are_there, lambda m: pod(m)["volumes"].clear(), "mounts tmp, which is no volume"),
    (references.targets_are_there, lambda m: route(m)["backendRefs"][0].update(port=80), "search:80"),
    (
        references.targets_are_there,
        lambda m: drop(m, "Gateway", "plumbline"),
        "Gateway plumbline, which is not there",
    ),
    (
        references.targets_are_there,
        lambda m: drop(m, "HTTPRoute", "streams"),
        "HTTPRoute streams, which is not there",
    ),
    (
        references.targets_are_there,
        lambda m: drop(m, "Deployment", "analysis-worker"),
        "ScaledObject analysis-worker scales",
    ),
    (
        references.addresses_are_there,
        lambda m: m.one("ExternalSecret", "search")["spec"]["target"]["template"]["data"].update(
            A_URL="nats://a:b@broker"
        ),
        "leads to broker",
    ),
    # --- settings
    (
        settings.variables_are_known,
        lambda m: config(m, "PLUMBLINE_SEARCH_JWKS_URI").update(PLUMBLINE_SEARCH_X="1"),
        "SEARCH_X",
    ),
    (
        settings.needs_are_met,
        lambda m: m.one("ExternalSecret", "search")["spec"]["target"]["template"]["data"].pop(
            "PLUMBLINE_SEARCH_NATS_URL"
        ),
        "Deployment search is not told PLUMBLINE_SEARCH_NATS_URL",
    ),
    (
        settings.values_are_taken,
        lambda m: config(m, "PLUMBLINE_SEARCH_JWKS_URI").update(PLUMBLINE_SEARCH_STREAM_REPLICAS="9"),
        "less than or equal to 5",
    ),
    (
        settings.values_are_taken,
        lambda m: container(m, "analysis")["volumeMounts"].pop(),
        "Deployment analysis: 1 validation error for Settings secrets_folder",
    ),
    (
        settings.streams_have_their_replicas,
        lambda m: m.one("StatefulSet", "nats")["spec"].update(replicas=1),
        "on 1 NATS",
    ),
    (
        settings.connections_fit,
        lambda m: m.one("HorizontalPodAutoscaler", "search")["spec"].update(maxReplicas=60),
        "PostgreSQL has room for 280",
    ),
    # --- network
    (network.denied_by_default, lambda m: drop(m, "NetworkPolicy", "default-deny"), "denies everything by default"),
    (network.flows_are_those_listed, lambda m: m.resources.append(STRAY), "search may reach any address:22"),
    (
        network.flows_are_those_listed,
        lambda m: drop(m, "NetworkPolicy", "to-events"),
        "search cannot reach nats:4222",
    ),
    (
        network.both_ends_agree,
        lambda m: drop(m, "NetworkPolicy", "to-events"),
        "nats:4222 takes what search may not send",
    ),
    (network.both_ends_agree, lambda m: drop(m, "NetworkPolicy", "nats"), "search may send to nats:4222"),
    # --- gateway
    (
        gateway.gateways_agree,
        lambda m: route(m)["timeouts"].update(request="31s"),
        "timeout is 30.0 in envoy.yaml, 31.0",
    ),
    (gateway.gateways_agree, lambda m: route(m)["matches"].clear(), "GET /api/v1/search: retried is True"),
    (
        gateway.gateways_agree,
        lambda m: drop(m, "HTTPRoute", "streams"),
        "GET /api/v1/events/stream: envoy.yaml alone",
    ),
    (
        gateway.gateways_agree,
        lambda m: traffic(m)["retry"].update(numRetries=0),
        "retried is True in envoy.yaml, False",
    ),
    (
        gateway.gateways_agree,
        lambda m: traffic(m, "plumbline").pop("requestBuffer"),
        "body is 8388608 in envoy.yaml, None",
    ),
    (
        gateway.gateways_agree,
        lambda m: traffic(m, "streams")["circuitBreaker"].update(maxConnections=1),
        "connections is 4096",
    ),
    (gateway.gateways_agree, lambda m: traffic(m, "telemetry").pop("telemetry"), "POST /v1/metrics: traced is False"),
    (
        gateway.gateways_agree,
        lambda m: traffic(m)["rateLimit"]["local"]["rules"][0]["limit"].update(requests=5),
        "per_second is 1000 in envoy.yaml, 5",
    ),
    (
        gateway.gateways_agree,
        lambda m: m.one("SecurityPolicy", "open")["spec"]["targetRefs"][0].update(name="search-reads"),
        "GET /api/v1/search: token is True in envoy.yaml, False",
    ),
    (
        gateway.gateways_agree,
        lambda m: m.one("ClientTrafficPolicy", "plumbline")["spec"]["path"].update(
            escapedSlashesAction="KeepUnchanged"
        ),
        "escaped slashes are refused: True",
    ),
    (
        gateway.gateways_agree,
        lambda m: m.one("EnvoyPatchPolicy", "edge")["spec"]["jsonPatches"][0]["operation"]["value"]["mappers"].pop(),
        "own answers",
    ),
    (
        gateway.gateways_agree,
        lambda m: patch(m, "jwt_authn")["typed_config"]["rate_limits"][0]["actions"].pop(),
        "POST /v1/metrics: address_per_second is None in envoy.yaml, 200",
    ),
    (
        gateway.gateways_agree,
        lambda m: patch(m, "router")["typed_config"]["descriptors"][0]["token_bucket"].update(max_tokens=1),
        "limit of one subject",
    ),
    (
        gateway.gateways_agree,
        lambda m: traffic(m, "deliveries").pop("requestBuffer"),
        "deliveries: body is 262144 in envoy.yaml, None",
    ),
    (
        gateway.gateways_agree,
        lambda m: m.one("SecurityPolicy", "open")["spec"]["targetRefs"].pop(),
        "deliveries: token is False in envoy.yaml, True",
    ),
    (
        gateway.gateways_agree,
        lambda m: m.one("ClientTrafficPolicy", "plumbline")["spec"]["headers"]["lateResponseHeaders"]["set"].pop(),
        "headers of answers without patches",
    ),
    (
        gateway.gateways_agree,
        lambda m: patch(m, "early_header_mutation")[0]["typed_config"]["mutations"].pop(),
        "headers that are not believed",
    ),
    (
        gateway.gateways_agree,
        lambda m: route(m)["filters"][0]["requestHeaderModifier"]["remove"].clear(),
        "headers that services do not see",
    ),
    (
        gateway.documents_agree,
        lambda m: config(m, "envoy.yaml").update({"envoy.yaml": _plain(m)}),
        "/docs: the headers",
    ),
    (gateway.routes_are_small_enough, lambda m: route(m)["matches"].extend(route(m)["matches"] * 5), "is too large"),
    # --- alerts
    (
        rules.metrics_are_exposed,
        lambda m: rule(m, "PlumblineEventsWait").update(expr="max(plumbline_outbox_age) > 1"),
        "asks for plumbline_outbox_age, which nobody exposes",
    ),
    (
        rules.bounds_are_buckets,
        lambda m: rule(m, "plumbline:requests_slow:ratio_rate5m").update(expr='sum(rate(x_bucket{le="0.6"}[5m]))'),
        "bucket le=0.6",
    ),
    (
        rules.alerts_have_pages,
        lambda m: rule(m, "PlumblineEventsWait")["labels"].clear(),
        "whether it wakes somebody",
    ),
    (rules.alerts_have_pages, lambda m: rule(m, "PlumblineEventsWait")["annotations"].clear(), "the page (none)"),
    (
        rules.alerts_have_pages,
        lambda m: rule(m, "PlumblineEventsWait").update(alert="PlumblineX"),
        "no heading of its name",
    ),
    (rules.promtool_takes_them, lambda m: rule(m, "PlumblineEventsWait").update(expr="max(("), "promtool"),
]


def _plain(manifests: Manifests) -> str:
    return str(config(manifests, "envoy.yaml")["envoy.yaml"]).replace("default-src 'self'", "default-src *")


@pytest.mark.parametrize(("check", "breaking", "finding"), BROKEN, ids=[f"{b[0].__name__}-{b[2]}" for b in BROKEN])
def test_a_check_finds_what_is_broken(rendered: Rendered, check: Any, breaking: Any, finding: str) -> None:
    if check is rules.promtool_takes_them and rules.promtool() is None:
        pytest.skip("promtool is not on PATH (Debian's package `prometheus`)")
    manifests = rendered("prod")
    breaking(manifests)
    try:
        found = list(check(manifests))
    except schemas.SchemasMissing as missing:
        pytest.skip(str(missing))
    assert any(finding in each for each in found), found


def test_every_check_is_shown_to_fail() -> None:
    assert {check for check, _, _ in BROKEN} == set(CHECKS)


def test_a_missing_kubectl_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("checks.manifests.sysconfig.get_path", lambda name: "/none")
    with pytest.raises(KubectlMissing, match="uv sync --group k8s"):
        Manifests.of("dev")
