"""NATS and PostgreSQL in the cluster: what the server takes, and what must say the same in two places."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from checks.manifests import FOLDER
from plumbline_analysis.job_worker.worker import CONSUMER
from plumbline_common import bus
from plumbline_common.events import JobRequested
from plumbline_common.settings import ServiceSettings
from plumbline_stack import nats

BASE = FOLDER / "base"
USERS = ("admin", "requirements", "search", "analysis", "subscriber")


@pytest.mark.parametrize("alone", [False, True])
def test_the_server_takes_the_configuration(tmp_path: Path, alone: bool) -> None:
    (tmp_path / "nats.conf").write_text((BASE / "nats.conf").read_text().replace('"/data"', f'"{tmp_path}"'))
    cluster = FOLDER / "overlays/dev/nats-alone.conf" if alone else BASE / "nats-cluster.conf"
    (tmp_path / "cluster.conf").write_text(cluster.read_text())
    (tmp_path / "users.conf").write_text((FOLDER.parent / "nats/users.conf").read_text())
    passwords = {f"NATS_{user.upper()}_PASSWORD": '"development"' for user in USERS}
    done = subprocess.run(
        [nats.program(), "-t", "-c", tmp_path / "nats.conf"],
        env={"POD_NAME": "nats-0"} | passwords,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_workers_are_scaled_by_the_queue_that_they_listen_to() -> None:
    scaling = yaml.safe_load_all((FOLDER / "overlays/prod/scaling.yaml").read_text())
    [scaled] = [each["spec"] for each in scaling if each["kind"] == "ScaledObject"]
    [trigger] = scaled["triggers"]
    assert trigger["metadata"]["stream"] == bus.stream_of(JobRequested.subject.partition(".")[0])
    assert trigger["metadata"]["consumer"] == CONSUMER
    # users.conf names no account.
    assert trigger["metadata"]["account"] == "$G"
    # A call may be lost where a job is not: with no worker nobody would look for it.
    assert scaled["minReplicaCount"] >= 1


def test_sessions_through_the_pooler_have_the_limits_that_services_ask_for() -> None:
    told = dict(re.findall(r"ALTER ROLE analysis SET (\w+) = (\w+);", (BASE / "sessions.sql").read_text()))
    fields = ServiceSettings.model_fields
    assert told["statement_timeout"] == str(fields["statement_timeout_ms"].default)
    assert told["lock_timeout"] == str(fields["lock_timeout_ms"].default)
    for role in ("requirements", "search"):
        assert dict(re.findall(rf"ALTER ROLE {role} SET (\w+) = (\w+);", (BASE / "sessions.sql").read_text())) == told
