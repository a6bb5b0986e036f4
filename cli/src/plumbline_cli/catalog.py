"""Requirements as documents in YAML: `kind: Requirement`, with SLOs in OpenSLO v1's words."""

from pathlib import Path
from typing import Any

from plumbline_cli import forms

API_VERSION = "plumbline/v1"


class NotACatalog(ValueError):
    """The file is not what `examples/plumbline.yaml` shows."""


def read(path: Path) -> list[dict[str, Any]]:
    """The bodies for POST /api/v1/requirements, one a document. Raises `NotACatalog` naming the document."""
    try:
        documents = forms.load(path.read_text())
    except (forms.NotAForm, UnicodeDecodeError) as error:
        raise NotACatalog(f"{path}: {error}") from None
    return [body(document, f"{path}, document {number}") for number, document in enumerate(documents, 1)]


def body(document: Any, place: str) -> dict[str, Any]:
    """The body that one document means. Raises `NotACatalog` naming `place`."""
    if not isinstance(document, dict) or not isinstance(document.get("spec"), dict):
        raise NotACatalog(f"{place}: needs apiVersion, kind, metadata and spec")
    if (document.get("apiVersion"), document.get("kind")) != (API_VERSION, "Requirement"):
        raise NotACatalog(f"{place}: needs apiVersion {API_VERSION} and kind Requirement")
    metadata, labels = document.get("metadata") or {}, document["spec"].get("labels") or {}
    if not isinstance(metadata, dict) or not isinstance(labels, dict):
        raise NotACatalog(f"{place}: metadata and labels are mappings")
    name = metadata.get("name")
    return dict(document["spec"] | {"labels": labels | ({"name": str(name)} if name else {})})
