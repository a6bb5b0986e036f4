"""The Collector's configuration that the docs give: whole in itself, and sent to paths that there are."""

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[4]
CONFIG = yaml.safe_load((ROOT / "examples" / "opentelemetry-collector.yaml").read_text())


def test_each_part_that_a_pipeline_names_is_there_and_each_part_is_used() -> None:
    pipelines = CONFIG["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert {name for pipeline in pipelines for name in pipeline[kind]} == set(CONFIG[kind])
    assert set(CONFIG["service"]["extensions"]) == set(CONFIG["extensions"])
    assert {each["auth"]["authenticator"] for each in CONFIG["exporters"].values()} == set(CONFIG["extensions"])


def test_what_is_sent_has_a_path_at_the_gateway() -> None:
    paths = json.loads((ROOT / "deploy" / "gateway" / "openapi.json").read_text())["paths"]
    assert {f"/v1/{signal}" for signal in CONFIG["service"]["pipelines"]} <= set(paths)
