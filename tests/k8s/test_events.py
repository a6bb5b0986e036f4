"""NATS in the cluster: a configuration that the server takes, with the rights of the embedded stack."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from checks.manifests import FOLDER
from plumbline_analysis.job_worker.worker import CONSUMER
from plumbline_common import bus
from plumbline_common.events import JobRequested
from plumbline_common.settings import ServiceSettings
from plumbline_stack import nats
from plumbline_stack.credentials import Credentials

BASE = FOLDER / "base"
USERS = ("requirements", "search", "analysis", "subscriber")


@pytest.fixture
def config() -> dict[str, Any]:
    """NATS' own format is nearly YAML."""
    text = re.sub(r"(?m)^include .*$", "", (BASE / "nats.conf").read_text())
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def rights(permissions: dict[str, Any]) -> Any:
    """Permissions, whatever the order that they are written in."""
    publish = permissions["publish"]
    parts = publish.items() if isinstance(publish, dict) else [("allow", publish)]
    return {name: sorted(subjects) for name, subjects in parts}, sorted(permissions["subscribe"])


@pytest.mark.parametrize("alone", [False, True])
def test_the_server_takes_the_configuration(tmp_path: Path, alone: bool) -> None:
    (tmp_path / "nats.conf").write_text((BASE / "nats.conf").read_text().replace('"/data"', f'"{tmp_path}"'))
    cluster = FOLDER / "overlays/dev/nats-alone.conf" if alone else BASE / "nats-cluster.conf"
    (tmp_path / "cluster.conf").write_text(cluster.read_text())
    passwords = {f"NATS_{user.upper()}_PASSWORD": "development" for user in (*USERS, "system")}
    done = subprocess.run(
        [nats.program(), "-t", "-c", tmp_path / "nats.conf"],
        env={"POD_NAME": "nats-0"} | passwords,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("user", USERS)
def test_each_user_may_do_what_it_may_in_the_embedded_stack(
    config: dict[str, Any], tmp_path: Path, user: str
) -> None:
    credentials = Credentials(tmp_path / "secrets")
    nats.NatsServer(tmp_path, 1, 2, credentials).prepare()
    embedded = json.loads((tmp_path / "secrets" / "nats.conf").read_text())["authorization"]["users"]
    [there] = [each["permissions"] for each in embedded if each["user"] == user]
    [here] = [each for each in config["accounts"]["PLUMBLINE"]["users"] if each["user"] == user]
    assert here["password"] == f"$NATS_{user.upper()}_PASSWORD"
    assert rights(here["permissions"]) == rights(there)


def test_nobody_else_has_an_account(config: dict[str, Any]) -> None:
    assert {each["user"] for each in config["accounts"]["PLUMBLINE"]["users"]} == set(USERS)
    assert [each["user"] for each in config["accounts"]["SYS"]["users"]] == ["system"]
    assert "authorization" not in config
    assert "no_auth_user" not in config


def test_workers_are_scaled_by_the_queue_that_they_listen_to(config: dict[str, Any]) -> None:
    scaling = yaml.safe_load_all((FOLDER / "overlays/prod/scaling.yaml").read_text())
    [scaled] = [each["spec"] for each in scaling if each["kind"] == "ScaledObject"]
    [trigger] = scaled["triggers"]
    assert trigger["metadata"]["stream"] == bus.stream_of(JobRequested.subject.partition(".")[0])
    assert trigger["metadata"]["consumer"] == CONSUMER
    assert trigger["metadata"]["account"] in config["accounts"]
    # A call may be lost where a job is not: with no worker nobody would look for it.
    assert scaled["minReplicaCount"] >= 1


def test_sessions_through_the_pooler_have_the_limits_that_services_ask_for() -> None:
    told = dict(re.findall(r"ALTER ROLE analysis SET (\w+) = (\w+);", (BASE / "sessions.sql").read_text()))
    fields = ServiceSettings.model_fields
    assert told["statement_timeout"] == str(fields["statement_timeout_ms"].default)
    assert told["lock_timeout"] == str(fields["lock_timeout_ms"].default)
    for role in ("requirements", "search"):
        assert dict(re.findall(rf"ALTER ROLE {role} SET (\w+) = (\w+);", (BASE / "sessions.sql").read_text())) == told
