"""Which flows the NetworkPolicies let through, and whether they are those that docs/kubernetes.md lists."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from checks.manifests import FOLDER, Manifests, Resource, matches

DOCUMENT = FOLDER.parents[1] / "docs" / "kubernetes.md"
_NAMED = "kubernetes.io/metadata.name"


class Flow(NamedTuple):
    source: str
    target: str
    port: int


def _pods(manifests: Manifests) -> dict[str, dict[str, str]]:
    found = {workload.name: workload.labels for workload in manifests.workloads}
    return found | {name: {"cnpg.io/cluster": name} for name in manifests.names("Cluster")}


def _ends(peer: Resource, pods: dict[str, dict[str, str]]) -> Iterator[str]:
    """The pods of the namespace that a peer means, or the name of what lies outside."""
    if "ipBlock" in peer:
        yield "the internet" if peer["ipBlock"].get("except") else "any address"
    elif "namespaceSelector" in peer:
        labels = peer["namespaceSelector"].get("matchLabels") or {"": "any namespace"}
        yield from (value if key == _NAMED else key or value for key, value in labels.items())
    else:
        yield from (name for name, labels in pods.items() if matches(peer["podSelector"], labels))


def _one_way(manifests: Manifests, direction: str) -> set[tuple[str, str, int]]:
    """(pod, the other end, port), of `ingress` or `egress`."""
    pods = _pods(manifests)
    found = set()
    for policy in manifests.kind("NetworkPolicy"):
        spec = policy["spec"]
        chosen = [name for name, labels in pods.items() if matches(spec["podSelector"], labels)]
        for rule in spec.get(direction) or []:
            peers: list[Any] = rule.get("from" if direction == "ingress" else "to") or [{"ipBlock": {}}]
            ends = [end for peer in peers for end in _ends(peer, pods)]
            ports = [port["port"] for port in rule.get("ports") or [{"port": 0}]]
            found |= {(pod, end, port) for pod in chosen for end in ends for port in ports}
    return found


def flows(manifests: Manifests) -> set[Flow]:
    """What both ends let through; port 0 is every port."""
    pods = _pods(manifests)
    incoming, outgoing = _one_way(manifests, "ingress"), _one_way(manifests, "egress")
    inside = {Flow(pod, end, port) for pod, end, port in outgoing if end in pods and (end, pod, port) in incoming}
    leaving = {Flow(pod, end, port) for pod, end, port in outgoing if end not in pods}
    arriving = {Flow(end, pod, port) for pod, end, port in incoming if end not in pods}
    return inside | leaving | arriving


def listed(overlay: str, document: Path = DOCUMENT) -> set[Flow]:
    """The table of flows: each row `| from, from | to, to | ports | overlay, or empty for all |`."""
    lines = document.read_text().partition("<!-- flows -->")[2].strip().splitlines()
    found = set()
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        cells = [[part.strip() for part in cell.split(",")] for cell in line.strip("|").split("|")]
        sources, targets, ports, only = cells
        if only != [""] and overlay not in only:
            continue
        found |= {Flow(source, target, int(port)) for source in sources for target in targets for port in ports}
    return found


def denied_by_default(manifests: Manifests) -> Iterator[str]:
    for policy in manifests.kind("NetworkPolicy"):
        spec = policy["spec"]
        whole = not spec["podSelector"] and set(spec.get("policyTypes") or []) == {"Ingress", "Egress"}
        if whole and not spec.get("ingress") and not spec.get("egress"):
            return
    yield "there is no NetworkPolicy that denies everything by default"


def flows_are_those_listed(manifests: Manifests) -> Iterator[str]:
    found, expected = flows(manifests), listed(manifests.overlay)
    for flow in sorted(found - expected):
        yield f"{flow.source} may reach {flow.target}:{flow.port}, which docs/kubernetes.md does not list"
    for flow in sorted(expected - found):
        yield f"{flow.source} cannot reach {flow.target}:{flow.port}, which docs/kubernetes.md lists"


def both_ends_agree(manifests: Manifests) -> Iterator[str]:
    """Nothing is let out that is not let in, nor the other way round."""
    pods = _pods(manifests)
    incoming, outgoing = _one_way(manifests, "ingress"), _one_way(manifests, "egress")
    for pod, end, port in sorted(outgoing):
        if end in pods and (end, pod, port) not in incoming:
            yield f"{pod} may send to {end}:{port}, but {end} does not take it"
    for pod, end, port in sorted(incoming):
        if end in pods and (end, pod, port) not in outgoing:
            yield f"{pod}:{port} takes what {end} may not send"


CHECKS = (denied_by_default, flows_are_those_listed, both_ends_agree)
