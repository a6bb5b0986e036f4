"""docker-compose.yml, and what it is given."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import composed
from plumbline_stack import compose, postgres
from plumbline_stack.collector import metrics
from plumbline_stack.keys import Issuer

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SECRETS = "${SECRETS:-./deploy/compose/secrets}/"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    compose.secrets(tmp_path / "secrets")
    return tmp_path / "secrets"


def test_every_secret_that_is_mounted_is_made_and_may_be_read(folder: Path) -> None:
    mounted = [each["file"].removeprefix(SECRETS) for each in COMPOSE["secrets"].values()]
    assert {name: mode(folder / name) for name in mounted} == dict.fromkeys(mounted, 0o644)
    assert mode(folder) == 0o700


def test_no_other_secret_may_be_read(folder: Path) -> None:
    mounted = {each["file"].removeprefix(SECRETS) for each in COMPOSE["secrets"].values()}
    others = {path.name: mode(path) for path in folder.iterdir() if path.name not in mounted}
    assert "jwt-key.pem" in others
    assert set(others.values()) == {0o600}


def test_made_again_they_stay_and_a_token_changes_nothing(folder: Path) -> None:
    def all_but_the_token() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "ingest-token"}

    before = all_but_the_token()
    Issuer(folder).token("viewer")
    compose.secrets(folder)
    assert all_but_the_token() == before
    assert mode(folder / "public-keys.json") == 0o644


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_container_has_no_more_rights_than_it_needs(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert service.get("cap_add", []) == (["CHOWN"] if name == "nats-data" else [])
    assert ("ports" in service) == (name == "gateway")
    assert not service["image"].endswith(":latest")


def test_the_example_of_env_names_all_that_compose_takes_with_its_defaults() -> None:
    taken = dict(re.findall(r"\$\{([A-Z_]+):-((?:\{[^}]*\}|[^{}])*)\}", TEXT))
    lines = (ROOT / ".env.example").read_text().splitlines()
    shown = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    # What is set for a purpose only is shown by an example for it.
    examples = {line.removeprefix("# ").split("=")[0] for line in lines if re.match(r"# [A-Z_]+=", line)}
    assert {name: default for name, default in taken.items() if name not in examples} == shown
    assert not examples & set(shown)


def test_what_the_journeys_set_is_what_compose_takes() -> None:
    taken = {name for file in composed.FILES for name in re.findall(r"\$\{([A-Z_]+)", (ROOT / file).read_text())}
    assert composed.SETTINGS.keys() <= taken


def test_text_is_encoded_and_sorted_as_in_the_embedded_database() -> None:
    arguments = COMPOSE["services"]["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
    assert {*postgres.LOCALE} <= {*arguments}


def test_one_node_of_nats_and_three_keep_their_streams_apart() -> None:
    nodes = [COMPOSE["services"][name] for name in ("nats", "nats-2", "nats-3")]
    assert {node["environment"]["NATS_STORE"] for node in nodes} == {"/data/${NATS_CONFIG:-nats}"}
    assert "store_dir: $NATS_STORE\n" in (ROOT / "deploy" / "compose" / "nats.conf").read_text()


def test_the_collector_makes_of_envoys_metrics_what_the_embedded_one_does() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "compose" / "otel-collector.yaml").read_text())
    of_points, of_metrics = config["processors"]["transform/envoy"]["metric_statements"]
    made = [f'scale_metric(0.000001, "s") where name == "{name}"' for name in metrics.MICROSECONDS]
    made += [f'set(unit, "{unit}") where name == "{name}"' for name, unit in metrics.UNITS.items()]
    assert (of_metrics["context"], of_metrics["statements"]) == ("metric", made)
    envoys = ['resource.attributes["telemetry.sdk.name"] == "envoy"']
    assert (of_points["conditions"], of_metrics["conditions"]) == (envoys, envoys)
    assert "transform/envoy" in config["service"]["pipelines"]["metrics"]["processors"]


def run_gateway(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """With a program in Envoy's place that prints its configuration."""
    (tmp_path / "envoy").write_text('#!/bin/sh\ncat "$2"\n')
    (tmp_path / "envoy").chmod(0o755)
    given = {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | environment
    run = [sys.executable, str(ROOT / "deploy" / "gateway" / "run.py")]
    return subprocess.run(run, env=given, cwd=tmp_path, capture_output=True, text=True, timeout=20)


def test_the_gateway_is_configured_by_what_compose_tells_it(tmp_path: Path) -> None:
    (tmp_path / "fault").write_text("a secret of a fault\n")
    settings = COMPOSE["services"]["gateway"]["environment"]
    told = {name: re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", value) for name, value in settings.items()}
    done = run_gateway(tmp_path, **told | {"FAULT_SECRET_FILE": str(tmp_path / "fault")})
    assert done.returncode == 0, done.stderr
    assert "a secret of a fault" in done.stdout
    assert yaml.safe_load(done.stdout)["node"]["id"] == "plumbline-gateway"


def test_the_gateway_names_what_it_was_not_told(tmp_path: Path) -> None:
    done = run_gateway(tmp_path, FAULT_SECRET="")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("is not set; the first lines of envoy.yaml tell what it is")
    done = run_gateway(tmp_path, FAULT_SECRET_FILE=str(tmp_path / "nothing"))
    assert done.stderr.startswith("FAULT_SECRET_FILE names a file that cannot be read")
