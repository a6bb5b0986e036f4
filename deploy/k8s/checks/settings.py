"""Whether each service is told what it needs and nothing that it does not know; whether the database has room."""

from collections.abc import Iterator
from typing import Any

from checks.manifests import Manifests, Workload

RESERVED_CONNECTIONS = 20
"""Of `max_connections`: for superusers, replication, metrics and the operator."""
_MIGRATION_CONNECTIONS = 2
OWNER = "owner_database_url"
"""What migrations are told: the address of the role that owns the schema."""


def _models() -> dict[str, Any]:
    from plumbline_analysis.settings import Settings as Analysis
    from plumbline_requirements.settings import Settings as Requirements
    from plumbline_search.settings import Settings as Search

    return {"requirements": Requirements, "search": Search, "analysis": Analysis}


def _service(workload: Workload) -> str:
    return workload.name.removeprefix("migrate-").removesuffix("-worker")


def _variables(manifests: Manifests, workload: Workload) -> dict[str, str | None]:
    """The environment of the first container; None for what only the cluster knows."""
    found: dict[str, str | None] = {}
    container = workload.containers[0]
    for source in container.get("envFrom") or []:
        if "configMapRef" in source:
            found |= manifests.one("ConfigMap", source["configMapRef"]["name"]).get("data") or {}
        elif "secretRef" in source:
            found |= dict.fromkeys(_secret_keys(manifests, source["secretRef"]["name"]))
    return found | {variable["name"]: variable.get("value") for variable in container.get("env") or []}


def _secret_keys(manifests: Manifests, name: str) -> set[str]:
    for external in manifests.kind("ExternalSecret"):
        if external["metadata"]["name"] == name:
            return set(external["spec"]["target"]["template"]["data"])
    return set(manifests.one("Secret", name).get("data") or {})


def _of_the_suite(manifests: Manifests) -> list[Workload]:
    return [workload for workload in manifests.workloads if workload.labels.get("plumbline.io/database") == "true"]


def variables_are_known(manifests: Manifests) -> Iterator[str]:
    """A misspelt variable would be passed over in silence."""
    models = _models()
    for workload in _of_the_suite(manifests):
        service = _service(workload)
        prefix = f"PLUMBLINE_{service.upper()}_"
        fields = {name.upper() for name in models[service].model_fields} | {OWNER.upper()}
        for variable in _variables(manifests, workload):
            if not variable.startswith("PLUMBLINE_"):
                continue
            if not variable.startswith(prefix) or variable.removeprefix(prefix).partition("__")[0] not in fields:
                yield f"{workload.label}: {variable} is no setting of {service}"


def needs_are_met(manifests: Manifests) -> Iterator[str]:
    models = _models()
    for workload in _of_the_suite(manifests):
        service = _service(workload)
        given = _variables(manifests, workload)
        needed = {name for name, field in models[service].model_fields.items() if field.is_required()}
        if workload.resource["kind"] == "Job":
            needed = {OWNER}
        for name in sorted(needed):
            if f"PLUMBLINE_{service.upper()}_{name.upper()}" not in given:
                yield f"{workload.label} is not told PLUMBLINE_{service.upper()}_{name.upper()}"


def values_are_taken(manifests: Manifests) -> Iterator[str]:
    """The service itself reads what it is told. Folders that are mounted stand for one that is here."""
    models = _models()
    for workload in _of_the_suite(manifests):
        if workload.resource["kind"] == "Job":
            continue
        service = _service(workload)
        prefix = f"PLUMBLINE_{service.upper()}_"
        mounted = {mount["mountPath"] for mount in workload.containers[0].get("volumeMounts") or []}
        given = {
            name.removeprefix(prefix).lower(): "/" if value in mounted else value
            for name, value in _variables(manifests, workload).items()
            if name.startswith(prefix) and value is not None
        }
        secret = {"database_url": "postgresql+asyncpg://a:b@c/d", "nats_url": "nats://a:b@c:4222"}
        try:
            models[service].model_validate(secret | given)
        except ValueError as error:
            yield f"{workload.label}: {' '.join(str(error).split())}"


def streams_have_their_replicas(manifests: Manifests) -> Iterator[str]:
    """As many copies of a stream as there are servers."""
    servers = manifests.one("StatefulSet", "nats")["spec"]["replicas"]
    for workload in _of_the_suite(manifests):
        if workload.resource["kind"] == "Job":
            continue
        told = _variables(manifests, workload).get(f"PLUMBLINE_{_service(workload).upper()}_STREAM_REPLICAS")
        if int(told or 1) != servers:
            yield f"{workload.label} makes streams of {told} copies on {servers} NATS servers"


def connections(manifests: Manifests) -> dict[str, int]:
    """The database connections that each role may hold at once, during a rollout too."""
    models = _models()
    most = {
        scaler["spec"]["scaleTargetRef"]["name"]: scaler["spec"].get("maxReplicas")
        or scaler["spec"]["maxReplicaCount"]
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for scaler in manifests.kind(kind)
    }
    found = dict.fromkeys(models, 0)
    for workload in _of_the_suite(manifests):
        service = _service(workload)
        if workload.resource["kind"] == "Job":
            found[service] += _MIGRATION_CONNECTIONS
            continue
        told = _variables(manifests, workload).get(f"PLUMBLINE_{service.upper()}_DATABASE_POOL_SIZE")
        pool = int(told or models[service].model_fields["database_pool_size"].default)
        pods = most.get(workload.name, workload.resource["spec"].get("replicas", 1)) + 1
        found[service] += pods * pool
    return found


def connections_fit(manifests: Manifests) -> Iterator[str]:
    asked = connections(manifests)
    for cluster in manifests.kind("Cluster"):
        room = int(cluster["spec"]["postgresql"]["parameters"]["max_connections"]) - RESERVED_CONNECTIONS
        if sum(asked.values()) > room:
            yield f"pods may hold {sum(asked.values())} connections, PostgreSQL has room for {room}"
    for pooler in manifests.kind("Pooler"):
        parameters = pooler["spec"]["pgbouncer"]["parameters"]
        for service, number in asked.items():
            if number > int(parameters["default_pool_size"]):
                yield f"Pooler {pooler['metadata']['name']} gives {service} fewer than {number} connections"
        if sum(asked.values()) > int(parameters["max_client_conn"]):
            yield f"Pooler {pooler['metadata']['name']} takes fewer than {sum(asked.values())} clients"


CHECKS = (
    variables_are_known,
    needs_are_met,
    values_are_taken,
    streams_have_their_replicas,
    connections_fit,
)
