"""What every workload must be like: the restricted Pod Security Standard and what a rollout without loss needs."""

import re
from collections.abc import Iterator
from typing import Any

from checks.manifests import Manifests, Resource, Workload, matches

_HOST = ("hostNetwork", "hostPID", "hostIPC")
_VOLUMES = {
    "configMap",
    "emptyDir",
    "projected",
    "secret",
    "downwardAPI",
    "persistentVolumeClaim",
    "csi",
    "ephemeral",
}
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_TAG = re.compile(r":(?P<tag>[\w][\w.-]{0,127})$")
_DRAIN_SECONDS = 25
"""Of a service: requests and events in hand have 10 s each, then telemetry is flushed."""


def namespace_is_restricted(manifests: Manifests) -> Iterator[str]:
    for namespace in manifests.kind("Namespace"):
        if (namespace["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"Namespace {namespace['metadata']['name']} does not enforce the restricted Pod Security Standard"
    if not manifests.kind("Namespace"):
        yield "there is no Namespace"


def everything_in_the_namespace(manifests: Manifests) -> Iterator[str]:
    names = manifests.names("Namespace")
    for resource in manifests.resources:
        if resource["kind"] in ("Namespace", "GatewayClass"):
            continue
        if resource["metadata"].get("namespace") not in names:
            yield f"{resource['kind']} {resource['metadata']['name']} stands in no Namespace of the manifests"


def pods_are_restricted(manifests: Manifests) -> Iterator[str]:
    """Pod Security Standard `restricted`, and a read-only root file system beside it."""
    for workload in manifests.workloads:
        pod = workload.pod
        yield from (f"{workload.label}: {field} reaches the host" for field in _HOST if pod.get(field))
        for volume in pod.get("volumes") or []:
            if not (set(volume) - {"name"}) <= _VOLUMES:
                yield f"{workload.label}: volume {volume['name']} is of a kind that `restricted` forbids"
        whole = pod.get("securityContext") or {}
        for container in workload.containers:
            yield from _restricted(workload, container, whole)


def _restricted(workload: Workload, container: Resource, whole: dict[str, Any]) -> Iterator[str]:
    name = f"{workload.label}: container {container['name']}"
    own = container.get("securityContext") or {}
    both = whole | own
    if own.get("privileged"):
        yield f"{name} is privileged"
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        yield f"{name} may run as root"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name} may gain privileges"
    if own.get("readOnlyRootFilesystem") is not True:
        yield f"{name} may write to its root file system"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []) or set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield f"{name} keeps capabilities"
    if (both.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield f"{name} has no seccomp profile"
    if any("hostPort" in port for port in container.get("ports") or []):
        yield f"{name} takes a port of the host"
    if set(both.get("sysctls") or []) or both.get("seLinuxOptions") or both.get("procMount", "Default") != "Default":
        yield f"{name} changes the kernel's settings for it"


def images_are_pinned(manifests: Manifests) -> Iterator[str]:
    images = [(w.label, str(container["image"])) for w in manifests.workloads for container in w.containers]
    images += [(f"Cluster {c['metadata']['name']}", str(c["spec"]["imageName"])) for c in manifests.kind("Cluster")]
    for name, image in images:
        tag = _TAG.search(image)
        if "@sha256:" not in image and (tag is None or tag["tag"] == "latest"):
            yield f"{name}: image {image} has no tag that stays the same"


def resources_are_set(manifests: Manifests) -> Iterator[str]:
    """Requests of all, a limit of memory; one of the processor would only keep from pods what nobody else uses."""
    for workload in manifests.workloads:
        for container in workload.containers:
            resources = container.get("resources") or {}
            for part, names in (("requests", ("cpu", "memory", "ephemeral-storage")), ("limits", ("memory",))):
                missing = [name for name in names if name not in (resources.get(part) or {})]
                if missing:
                    yield f"{workload.label}: container {container['name']} has no {part} of {', '.join(missing)}"
    for cluster in manifests.kind("Cluster"):
        if not {"requests", "limits"} <= set(cluster["spec"].get("resources") or {}):
            yield f"Cluster {cluster['metadata']['name']} has no resources"


def probes_are_set(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        if workload.resource["kind"] == "Job":
            continue
        for container in workload.containers:
            missing = [probe for probe in _PROBES if probe not in container]
            if missing:
                yield f"{workload.label}: container {container['name']} has no {', '.join(missing)}"
            elif (
                container["livenessProbe"] == container["readinessProbe"]
                and "httpGet" not in container["livenessProbe"]
            ):
                yield f"{workload.label}: container {container['name']} is ended for what only makes it unready"


def volumes_are_bounded(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        for volume in workload.pod.get("volumes") or []:
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                yield f"{workload.label}: volume {volume['name']} may fill the node's disk"


def no_token_is_mounted(manifests: Manifests) -> Iterator[str]:
    """Nothing of the suite speaks to the API server."""
    for workload in manifests.workloads:
        if workload.pod.get("automountServiceAccountToken") is not False:
            yield f"{workload.label} mounts a token of its ServiceAccount"
        if workload.pod.get("serviceAccountName", "default") == "default":
            yield f"{workload.label} runs as the namespace's default ServiceAccount"
    for account in manifests.kind("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {account['metadata']['name']} hands its token to pods"


def secrets_stay_secrets(manifests: Manifests) -> Iterator[str]:
    """No password in a ConfigMap or in a pod's template."""
    for config in manifests.kind("ConfigMap"):
        for key, value in (config.get("data") or {}).items():
            if re.search(r"\w+://[^\s:/@]+:[^\s@/$]+@", value) or re.search(r"(?i)(PASSWORD|_SECRET|TOKEN)$", key):
                yield f"ConfigMap {config['metadata']['name']}: {key} looks like a secret"
    for workload in manifests.workloads:
        for container in workload.containers:
            for variable in container.get("env") or []:
                if "value" in variable and re.search(r"(?i)(PASSWORD|_SECRET|_URL)$", variable["name"]):
                    yield f"{workload.label}: {variable['name']} belongs into a Secret"


def rollouts_lose_nothing(manifests: Manifests) -> Iterator[str]:
    """Nobody leaves before somebody is ready; who leaves has the time to finish what it has."""
    served = {str(service["spec"]["selector"].get("app.kubernetes.io/name")) for service in manifests.kind("Service")}
    for workload in manifests.workloads:
        if workload.resource["kind"] != "Deployment":
            continue
        rolling = (workload.resource["spec"].get("strategy") or {}).get("rollingUpdate") or {}
        if manifests.overlay == "prod" and rolling.get("maxUnavailable") != 0:
            yield f"{workload.label} takes pods away before new ones are ready"
        sleep = _sleep(workload)
        if workload.labels.get("app.kubernetes.io/name") in served and manifests.overlay == "prod" and not sleep:
            yield f"{workload.label} ends while it is still sent requests: it has no preStop"
        if workload.labels.get("plumbline.io/events") == "true":
            grace = workload.pod.get("terminationGracePeriodSeconds", 30)
            if grace < sleep + _DRAIN_SECONDS:
                yield f"{workload.label} is killed after {grace} s, but may need {sleep + _DRAIN_SECONDS} s to finish"


def _sleep(workload: Workload) -> int:
    hooks = [container.get("lifecycle", {}).get("preStop", {}) for container in workload.containers]
    return max((int(hook.get("sleep", {}).get("seconds", 0)) for hook in hooks), default=0)


def production_is_available(manifests: Manifests) -> Iterator[str]:
    """In prod: each Deployment and StatefulSet has a PodDisruptionBudget, is spread, and has more than one pod."""
    if manifests.overlay != "prod":
        return
    scaled = {
        resource["spec"]["scaleTargetRef"]["name"]: resource["spec"].get("minReplicas")
        or resource["spec"].get("minReplicaCount")
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for resource in manifests.kind(kind)
    }
    for workload in manifests.workloads:
        if workload.resource["kind"] == "Job":
            continue
        budgets = [
            b for b in manifests.kind("PodDisruptionBudget") if matches(b["spec"]["selector"], workload.labels)
        ]
        if len(budgets) != 1:
            yield f"{workload.label} has {len(budgets)} PodDisruptionBudgets: it needs one"
        keys = {each["topologyKey"] for each in workload.pod.get("topologySpreadConstraints") or []}
        if "topology.kubernetes.io/zone" not in keys:
            yield f"{workload.label} is not spread over zones"
        if workload.name in scaled and "replicas" in workload.resource["spec"]:
            yield f"{workload.label} has a fixed number of pods and an autoscaler"
        if (scaled.get(workload.name) or workload.resource["spec"].get("replicas", 1)) < 2:
            yield f"{workload.label} has one pod only"


CHECKS = (
    namespace_is_restricted,
    everything_in_the_namespace,
    pods_are_restricted,
    images_are_pinned,
    resources_are_set,
    probes_are_set,
    volumes_are_bounded,
    no_token_is_mounted,
    secrets_stay_secrets,
    rollouts_lose_nothing,
    production_is_available,
)
