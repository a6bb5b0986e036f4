"""Requirements as documents in YAML: `kind: Requirement`, with SLOs in OpenSLO v1's words."""

from pathlib import Path
from typing import Any

import yaml

API_VERSION = "plumbline/v1"


class NotACatalog(ValueError):
    """The file is not what `examples/plumbline.yaml` shows."""


def read(path: Path) -> list[dict[str, Any]]:
    """The bodies for POST /api/v1/requirements, one a document. Raises `NotACatalog` naming the document."""
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document is not None]
    except yaml.YAMLError as error:
        raise NotACatalog(f"{path}: not YAML: {error}") from None
    bodies = []
    for number, document in enumerate(documents, 1):
        place = f"{path}, document {number}"
        if not isinstance(document, dict) or not isinstance(document.get("spec"), dict):
            raise NotACatalog(f"{place}: needs apiVersion, kind, metadata and spec")
        if (document.get("apiVersion"), document.get("kind")) != (API_VERSION, "Requirement"):
            raise NotACatalog(f"{place}: needs apiVersion {API_VERSION} and kind Requirement")
        name = (document.get("metadata") or {}).get("name")
        labels = dict(document["spec"].get("labels", {}))
        bodies.append(document["spec"] | {"labels": labels | ({"name": str(name)} if name else {})})
    return bodies
