"""The committed documents that code makes: `python -m plumbline_common.specs [--check]`, from the repository's root.

Each service's openapi.json and asyncapi.json stand beside its pyproject.toml; the gateway serves both kinds joined.
docs/configuration.md tells of the settings of all, docs/metrics.md of the metrics. docs/log-messages.md is written by
hand: what it lacks is named.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from plumbline_common import configuration, reference
from plumbline_common.settings import ServiceSettings

SERVICES = ("requirements", "search", "analysis")
_PLACEHOLDERS = {
    "database_url": "postgresql+asyncpg://nobody@localhost/none",
    "nats_url": "nats://localhost",
    "jwks_uri": "file:///none",
}


def settings_of(service: str) -> type[ServiceSettings]:
    settings: type[ServiceSettings] = importlib.import_module(f"plumbline_{service}.settings").Settings
    return settings


def documents(service: str) -> dict[str, dict[str, Any]]:
    """`openapi` and `asyncapi` of a service; nothing is connected to."""
    settings = settings_of(service).model_validate(_PLACEHOLDERS)
    app = importlib.import_module(f"plumbline_{service}.main").create_app(settings)
    return {"openapi": app.openapi(), "asyncapi": app.state.asyncapi}


def joined(title: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One document of several. Raises `ValueError` where two mean different things by one name."""
    whole: dict[str, Any] = {}
    for part in parts:
        _merge(whole, part, ())
    whole["info"]["title"] = title
    return whole


def _merge(into: dict[str, Any], part: dict[str, Any], place: tuple[str, ...]) -> None:
    # Members of these maps are definitions: a name stands for one thing in the whole suite.
    for name, value in part.items():
        if name not in into:
            into[name] = value
        elif place in ((), ("components",)) and isinstance(value, dict) and name != "info":
            into[name] = dict(into[name])
            _merge(into[name], value, (*place, name))
        elif place == ("channels",):
            into[name] = value
        elif into[name] != value and name not in ("info", "id"):
            raise ValueError(f"two services mean different things by {'/'.join((*place, name))}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m plumbline_common.specs", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="fail where a committed document is not what the code says"
    )
    check = parser.parse_args().check
    written: dict[Path, dict[str, Any]] = {}
    for service in SERVICES:
        for kind, document in documents(service).items():
            written[Path("services", service, f"{kind}.json")] = document
    for kind in ("openapi", "asyncapi"):
        parts = [written[Path("services", service, f"{kind}.json")] for service in SERVICES]
        written[Path("deploy", "gateway", f"{kind}.json")] = joined("Plumbline", parts)
    contents = {path: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for path, document in written.items()}
    contents[Path("docs", "configuration.md")] = configuration.page({name: settings_of(name) for name in SERVICES})
    contents[Path("docs", "metrics.md")] = reference.metrics_page()
    drifted = []
    for path, content in contents.items():
        if not path.exists() or path.read_text() != content:
            drifted.append(str(path))
            if not check:
                path.write_text(content)
    if check and drifted:
        sys.exit(f"these are not what the code says; run make specs: {', '.join(drifted)}")
    page = Path("docs", "log-messages.md")
    if lacking := reference.log_drift(page.read_text()):
        sys.exit("\n".join(f"{page} {each}" for each in lacking))


if __name__ == "__main__":
    main()
