"""Whether what a resource names is there: ConfigMaps, Secrets, Services and ports, pods that selectors mean."""

import base64
from collections.abc import Iterator
from typing import Any

from checks.manifests import Manifests, Resource, Workload, label, matches

FROM_OPERATORS = {"Service": {"postgres-rw", "postgres-ro", "postgres-r"}}
"""What CloudNativePG makes for the Cluster `postgres`."""


def _keys(manifests: Manifests, kind: str) -> dict[str, set[str]]:
    """The keys of each ConfigMap or Secret, wherever it comes from."""
    found = {
        str(resource["metadata"]["name"]): set(resource.get("data") or {}) | set(resource.get("stringData") or {})
        for resource in manifests.kind(kind)
    }
    if kind == "Secret":
        for external in manifests.kind("ExternalSecret"):
            found[external["metadata"]["name"]] = set(external["spec"]["target"]["template"]["data"])
        for certificate in manifests.kind("Certificate"):
            found[certificate["spec"]["secretName"]] = {"tls.crt", "tls.key", "ca.crt"}
    return found


def configuration_is_there(manifests: Manifests) -> Iterator[str]:
    known = {kind: _keys(manifests, kind) for kind in ("ConfigMap", "Secret")}
    for workload in manifests.workloads:
        for kind, name, key in _named(workload):
            if name not in known[kind]:
                yield f"{workload.label} names {kind} {name}, which is not there"
            elif key is not None and key not in known[kind][name]:
                yield f"{workload.label} names the key {key} of {kind} {name}, which has none"
    for who, kind, name, key in _named_by_custom_resources(manifests):
        if name not in known[kind]:
            yield f"{who} names {kind} {name}, which is not there"
        elif key is not None and key not in known[kind][name]:
            yield f"{who} names the key {key} of {kind} {name}, which has none"


def _named(workload: Workload) -> Iterator[tuple[str, str, str | None]]:
    for container in workload.containers:
        for source in container.get("envFrom") or []:
            yield from _refs(source, "configMapRef", "secretRef", "name")
        for variable in container.get("env") or []:
            source = variable.get("valueFrom") or {}
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if field in source:
                    yield kind, source[field]["name"], source[field]["key"]
    for volume in workload.pod.get("volumes") or []:
        for source in (volume.get("projected") or {}).get("sources") or [volume]:
            yield from _refs({"configMap": source.get("configMap")}, "configMap", "", "name")
            secret = source.get("secret") or {}
            if secret and not secret.get("optional"):
                yield "Secret", secret.get("secretName") or secret["name"], None


def _refs(source: Resource, config: str, secret: str, key: str) -> Iterator[tuple[str, str, None]]:
    for field, kind in ((config, "ConfigMap"), (secret, "Secret")):
        found = source.get(field)
        if found and not found.get("optional"):
            yield kind, found[key], None


def _named_by_custom_resources(manifests: Manifests) -> Iterator[tuple[str, str, str, str | None]]:
    for cluster in manifests.kind("Cluster"):
        refs = cluster["spec"]["bootstrap"]["initdb"]["postInitApplicationSQLRefs"]["configMapRefs"]
        yield from ((label(cluster), "ConfigMap", ref["name"], ref["key"]) for ref in refs)
        for role in cluster["spec"]["managed"]["roles"]:
            yield label(cluster), "Secret", role["passwordSecret"]["name"], "password"
    for gateway in manifests.kind("Gateway"):
        for listener in gateway["spec"]["listeners"]:
            for ref in (listener.get("tls") or {}).get("certificateRefs") or []:
                yield label(gateway), "Secret", ref["name"], "tls.crt"
    for store in manifests.kind("ObjectStore"):
        for ref in store["spec"]["configuration"]["s3Credentials"].values():
            yield label(store), "Secret", ref["name"], ref["key"]
    for policy in manifests.kind("SecurityPolicy"):
        for provider in (policy["spec"].get("jwt") or {}).get("providers") or []:
            if "localJWKS" in provider:
                yield label(policy), "ConfigMap", provider["localJWKS"]["valueRef"]["name"], None


def accounts_are_there(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        if (name := workload.pod.get("serviceAccountName")) not in manifests.names("ServiceAccount"):
            yield f"{workload.label} runs as ServiceAccount {name}, which is not there"


def selectors_find_pods(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        if workload.resource["kind"] != "Job" and not matches(workload.resource["spec"]["selector"], workload.labels):
            yield f"{workload.label} does not select its own pods"
    for service in manifests.kind("Service"):
        chosen = [w for w in manifests.workloads if matches({"matchLabels": service["spec"]["selector"]}, w.labels)]
        if len(chosen) != 1:
            yield f"{label(service)} selects the pods of {len(chosen)} workloads: it should be one"
            continue
        ports = {port["name"] for container in chosen[0].containers for port in container.get("ports") or []}
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"{label(service)} sends to the port {port['targetPort']}, which is none of {chosen[0].label}"
    for budget in manifests.kind("PodDisruptionBudget"):
        if not any(matches(budget["spec"]["selector"], workload.labels) for workload in manifests.workloads):
            yield f"{label(budget)} selects no pods"


def probes_ask_a_port(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        for container in workload.containers:
            ports = {port["name"] for port in container.get("ports") or []}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                port = ((container.get(probe) or {}).get("httpGet") or {}).get("port", next(iter(ports), None))
                if port not in ports and "httpGet" in (container.get(probe) or {}):
                    yield f"{workload.label}: {probe} of {container['name']} asks the port {port}, which is none"


def volumes_are_there(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        names = {volume["name"] for volume in workload.pod.get("volumes") or []}
        names |= {claim["metadata"]["name"] for claim in workload.resource["spec"].get("volumeClaimTemplates") or []}
        for container in workload.containers:
            for mount in container.get("volumeMounts") or []:
                if mount["name"] not in names:
                    yield f"{workload.label}: {container['name']} mounts {mount['name']}, which is no volume"


def targets_are_there(manifests: Manifests) -> Iterator[str]:
    """What routes, policies, autoscalers and monitors are about."""
    ports = {
        service["metadata"]["name"]: {p["port"] for p in service["spec"]["ports"]}
        for service in manifests.kind("Service")
    }
    for route in manifests.kind("HTTPRoute"):
        for parent in route["spec"]["parentRefs"]:
            if parent["name"] not in manifests.names("Gateway"):
                yield f"{label(route)} hangs on Gateway {parent['name']}, which is not there"
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                if backend["port"] not in ports.get(backend["name"], set()):
                    yield f"{label(route)} sends to {backend['name']}:{backend['port']}, which is not there"
    for kind in ("SecurityPolicy", "BackendTrafficPolicy", "ClientTrafficPolicy"):
        for policy in manifests.kind(kind):
            for target in policy["spec"]["targetRefs"]:
                if target["name"] not in manifests.names(target["kind"]):
                    yield f"{label(policy)} is for {target['kind']} {target['name']}, which is not there"
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        for scaler in manifests.kind(kind):
            target = scaler["spec"]["scaleTargetRef"]
            if target["name"] not in manifests.names(target["kind"]):
                yield f"{label(scaler)} scales {target['kind']} {target['name']}, which is not there"
    for monitor in manifests.kind("ServiceMonitor"):
        found = [
            s for s in manifests.kind("Service") if matches(monitor["spec"]["selector"], s["metadata"]["labels"])
        ]
        named = {port["name"] for service in found for port in service["spec"]["ports"]}
        for endpoint in monitor["spec"]["endpoints"]:
            if endpoint["port"] not in named:
                yield f"{label(monitor)} scrapes the port {endpoint['port']}, which no Service has"
    for kind in ("Pooler", "ScheduledBackup"):
        for resource in manifests.kind(kind):
            if resource["spec"]["cluster"]["name"] not in manifests.names("Cluster"):
                yield f"{label(resource)} is for a Cluster that is not there"


def addresses_are_there(manifests: Manifests) -> Iterator[str]:
    """The hosts of database and broker in the Secrets' addresses are Services."""
    services = manifests.names("Service") | FROM_OPERATORS["Service"] | manifests.names("Pooler")
    for name, key, address in _addresses(manifests):
        host = address.rpartition("@")[2].partition("/")[0].partition(":")[0]
        if host not in services:
            yield f"Secret {name}: {key} leads to {host}, which is no Service"


def _addresses(manifests: Manifests) -> Iterator[tuple[str, str, str]]:
    def decoded(data: dict[str, Any]) -> dict[str, str]:
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    found = {secret["metadata"]["name"]: decoded(secret.get("data") or {}) for secret in manifests.kind("Secret")}
    found |= {
        e["metadata"]["name"]: e["spec"]["target"]["template"]["data"] for e in manifests.kind("ExternalSecret")
    }
    for name, data in found.items():
        yield from ((name, key, value) for key, value in data.items() if key.endswith("_URL"))


CHECKS = (
    configuration_is_there,
    accounts_are_there,
    selectors_find_pods,
    probes_ask_a_port,
    volumes_are_there,
    targets_are_there,
    addresses_are_there,
)
