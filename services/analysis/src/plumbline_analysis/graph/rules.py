"""What a service graph is, and what telemetry tells of it. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

MAX_NAME = 200
SERVICE_GRAPH_METRICS = ("traces_service_graph_request_total", "traces.service.graph.request.total")
"""Of the collector's servicegraph connector: `client` and `server` are the two services."""
CLIENT_METRICS = (
    "http.client.request.duration",
    "http.client.duration",
    "http_client_request_duration_seconds",
    "rpc.client.call.duration",
    "rpc.client.duration",
    "rpc_client_duration_milliseconds",
    "messaging.client.operation.duration",
    "messaging.client.sent.messages",
)
"""Of OpenTelemetry's semantic conventions, also as Prometheus has them: measured by who calls."""
_PEERS = ("service.peer.name", "peer.service", "service_peer_name", "peer_service")
_ADDRESSES = ("server.address", "server_address")


class Edge(NamedTuple):
    """That `caller` calls `callee`."""

    caller: str
    callee: str


def edge(caller: str | None, callee: str | None) -> Edge | None:
    """The edge between two services; None where there is none, or a name cannot be kept."""
    if not caller or not callee or caller == callee or max(len(caller), len(callee)) > MAX_NAME:
        return None
    return None if "\x00" in caller + callee else Edge(caller, callee)


def peer(attributes: Mapping[str, str]) -> str | None:
    """The service that a client's span or metric names as the one that it called."""
    return next((attributes[name] for name in _PEERS if attributes.get(name)), None)


def addressed(attributes: Mapping[str, str]) -> list[str]:
    """The services that the address may be of: `cart.prod.svc` is that of cart.prod.svc or of cart."""
    address = next((attributes[name] for name in _ADDRESSES if attributes.get(name)), "")
    return [address, label] if (label := address.partition(".")[0]) and not label.isdecimal() else []


def edge_of_metric(
    metric: str, service: str | None, attributes: Mapping[str, str], known: Collection[str]
) -> Edge | None:
    """The call that a series tells of. `known` are services that send telemetry: an address may be of one."""
    if metric in SERVICE_GRAPH_METRICS:
        return edge(attributes.get("client"), attributes.get("server"))
    callee = peer(attributes) or next((each for each in addressed(attributes) if each in known), None)
    return edge(service, callee)


def neighbours_of(edges: Iterable[Edge]) -> dict[str, set[str]]:
    """Of each service, those that call it or are called by it."""
    found: dict[str, set[str]] = defaultdict(set)
    for caller, callee in edges:
        found[caller].add(callee)
        found[callee].add(caller)
    return dict(found)


def callees_of(edges: Iterable[Edge]) -> dict[str, set[str]]:
    """Of each service, those that it calls."""
    found: dict[str, set[str]] = defaultdict(set)
    for caller, callee in edges:
        found[caller].add(callee)
    return dict(found)
