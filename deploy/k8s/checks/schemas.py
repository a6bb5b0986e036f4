"""Whether each resource is of its kind's form: Kubernetes' own by its schemas, custom ones by `crds.yaml`."""

import json
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from checks.manifests import Manifests, Resource, label

VERSIONS = ("1.34.0", "1.37.0")
"""The oldest and the newest Kubernetes that the manifests are for."""

_TYPES: dict[str, Any] = {
    "any": {},
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "minimum": 0},
    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "intOrString": {"type": ["integer", "string"]},
    "duration": {"type": "string", "pattern": r"^([0-9]{1,5}(h|m|s|ms|d)){1,4}$"},
    "quantity": {"type": ["string", "integer"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"},
}
_METADATA = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"},
        "namespace": _TYPES["string"],
        "labels": {"type": "object", "additionalProperties": _TYPES["string"]},
        "annotations": {"type": "object", "additionalProperties": _TYPES["string"]},
    },
}


def compiled(form: Any) -> dict[str, Any]:
    """The JSON Schema of a form of `crds.yaml`. Unknown members are refused everywhere."""
    if isinstance(form, str):
        if form in _TYPES:
            return dict(_TYPES[form])
        return {"enum": [word.strip() for word in form.split("|")]}
    if isinstance(form, list):
        return {"type": "array", "minItems": 1, "items": compiled(form[0])}
    if "*" in form:
        return {"type": "object", "additionalProperties": compiled(form["*"])}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [key[:-1] for key in form if key.endswith("!")],
        "properties": {key.removesuffix("!"): compiled(value) for key, value in form.items()},
    }


@cache
def _custom() -> dict[str, Draft202012Validator]:
    forms = yaml.safe_load((Path(__file__).parent / "crds.yaml").read_text())
    return {
        kind: Draft202012Validator(
            {
                "type": "object",
                "required": ["apiVersion", "kind", "metadata", "spec"],
                "additionalProperties": False,
                "properties": {"apiVersion": {}, "kind": {}, "metadata": _METADATA, "spec": compiled(form)},
            }
        )
        for kind, form in forms.items()
    }


def custom_resources_are_valid(manifests: Manifests) -> Iterator[str]:
    for resource in manifests.resources:
        kind = f"{resource['apiVersion']} {resource['kind']}"
        if kind in _custom():
            for error in _custom()[kind].iter_errors(resource):
                yield f"{label(resource)}: {error.json_path}: {error.message}"


def is_custom(resource: Resource) -> bool:
    """Whether a resource is of none of Kubernetes' own groups."""
    group = str(resource["apiVersion"]).rpartition("/")[0]
    return ("." in group and not group.endswith(".k8s.io")) or group.startswith("gateway.")


class SchemasMissing(Exception):
    """The wheel with Kubernetes' schemas is not installed."""


def _folder(version: str) -> Path:
    spec = find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise SchemasMissing("Kubernetes' schemas are missing: `uv sync --group k8s` brings them")
    return Path(spec.origin).parent / "kubernetes-json-schema" / f"v{version}-local-strict"


@cache
def _definitions(version: str) -> Registry[Any]:
    definitions = json.loads((_folder(version) / "_definitions.json").read_bytes())
    found: Registry[Any] = Registry()
    return found.with_resource("/api/_definitions.json", DRAFT202012.create_resource(definitions))


@cache
def _own(version: str, api_version: str, kind: str) -> Draft202012Validator | None:
    """By the name of the wheel's files: `deployment-apps-v1.json`, `networkpolicy-networking-v1.json`."""
    group, _, number = api_version.rpartition("/")
    named = f"{kind.lower()}-{group.partition('.')[0]}-{number}.json" if group else f"{kind.lower()}-{number}.json"
    path = _folder(version) / named
    if not path.exists():
        return None
    schema = {name: value for name, value in json.loads(path.read_bytes()).items() if name != "$id"}
    return Draft202012Validator(schema, registry=_definitions(version))


def kubernetes_resources_are_valid(manifests: Manifests) -> Iterator[str]:
    """By the schemas of each of `VERSIONS`, which refuse unknown members too; a kind of no schema is a finding.

    Raises `SchemasMissing`.
    """
    for resource in manifests.resources:
        kind = f"{resource['apiVersion']} {resource['kind']}"
        if is_custom(resource):
            if kind not in _custom():
                yield f"{label(resource)}: {kind} has no form in crds.yaml"
            continue
        for version in VERSIONS:
            validator = _own(version, resource["apiVersion"], resource["kind"])
            if validator is None:
                yield f"{label(resource)}: Kubernetes {version} has no {kind}"
            else:
                for error in validator.iter_errors(resource):
                    yield f"{label(resource)}: Kubernetes {version}: {error.json_path}: {error.message}"


CHECKS = (custom_resources_are_valid, kubernetes_resources_are_valid)
