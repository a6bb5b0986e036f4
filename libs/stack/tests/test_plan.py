from pathlib import Path
from urllib.parse import unquote

import jwt
import pytest

from plumbline_stack.config import DEFAULT_PORTS, StackConfig
from plumbline_stack.plan import Plan


def plan_of(folder: Path, **options: object) -> Plan:
    return Plan.of(StackConfig(**options), folder, DEFAULT_PORTS)  # type: ignore[arg-type]


def test_a_service_is_told_its_own_role_and_where_telemetry_goes(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, otlp_interval=0.5)
    search = {spec.name: spec for spec in plan.services()}["search"]
    env = search.command().env
    assert env["PLUMBLINE_SEARCH_DATABASE_URL"].startswith("postgresql+asyncpg://search:")
    assert env["PLUMBLINE_SEARCH_NATS_URL"].startswith("nats://search:")
    assert env["PLUMBLINE_SEARCH_JWKS_URI"] == (tmp_path / "secrets" / "jwks.json").as_uri()
    assert env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == "http://127.0.0.1:4318/v1/traces"
    assert env["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"] == "http://127.0.0.1:8080/v1/metrics"
    assert env["OTEL_METRIC_EXPORT_INTERVAL"] == "500"
    assert not [name for name in env if name.startswith("PLUMBLINE_ANALYSIS")]


def test_links_of_analysis_open_the_gateway(tmp_path: Path) -> None:
    for spec in plan_of(tmp_path).services():
        urls = [value for name, value in spec.command().env.items() if name.endswith("_EXTERNAL_URL")]
        assert urls == (["http://127.0.0.1:8080"] if spec.name.startswith("analysis") else [])


def test_a_service_may_only_report_telemetry_with_its_token(tmp_path: Path) -> None:
    command = plan_of(tmp_path).services()[0].command()
    name, _, value = unquote(command.env["OTEL_EXPORTER_OTLP_METRICS_HEADERS"]).partition("=")
    assert name == "Authorization"
    claims = jwt.decode(value.removeprefix("Bearer "), options={"verify_signature": False})
    assert claims["roles"] == ["ingest"]
    assert claims["exp"] - claims["iat"] == 30 * 86_400


def test_every_start_has_a_token_of_its_own(tmp_path: Path) -> None:
    service = plan_of(tmp_path).services()[0]
    header = "OTEL_EXPORTER_OTLP_METRICS_HEADERS"
    assert service.command().env[header] != service.command().env[header]


def test_traces_can_go_elsewhere(tmp_path: Path) -> None:
    elsewhere = "http://127.0.0.1:9999/v1/traces"
    plan = plan_of(tmp_path, otlp_traces_endpoint=elsewhere)
    assert plan.services()[0].command().env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == elsewhere
    plan.gateway.prepare()
    rendered = (tmp_path / "gateway" / "envoy.yaml").read_text()
    assert f'uri: "{elsewhere}"' in rendered
    assert 'uri: "http://127.0.0.1:4318/v1/metrics"' in rendered


def test_the_environment_can_be_added_to(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, extra_env={"PLUMBLINE_SEARCH_WATCHDOG_THRESHOLD_MS": "50"})
    assert plan.services()[1].command().env["PLUMBLINE_SEARCH_WATCHDOG_THRESHOLD_MS"] == "50"


def test_addresses_hold_no_secrets(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert not [url for url in plan.urls().values() if "@" in url]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_service_runs_with_as_many_workers_as_asked(tmp_path: Path, workers: int) -> None:
    argv = plan_of(tmp_path, workers=workers).services()[0].command().argv
    assert argv[argv.index("--workers") + 1] == str(workers)
    assert "plumbline_requirements.main:create_app" in argv


def test_migrations_can_be_left_out(tmp_path: Path) -> None:
    assert list(plan_of(tmp_path).migrations()) == ["requirements", "search", "analysis"]
    assert plan_of(tmp_path, migrate=False).migrations() == {}


def test_a_worker_does_the_jobs_of_analysis_under_a_name_of_its_own(tmp_path: Path) -> None:
    worker = plan_of(tmp_path, job_processes=2).services()[-1]
    command = worker.command()
    assert worker.name == "analysis-worker"
    assert command.argv[1:5] == ["-m", "plumbline_analysis.job_worker", "--processes", "2"]
    assert command.env["OTEL_SERVICE_NAME"] == "plumbline-analysis-worker"
    assert command.env["PLUMBLINE_ANALYSIS_NATS_URL"].startswith("nats://analysis:")


async def test_a_worker_is_ready_when_it_says_that_it_lives(tmp_path: Path) -> None:
    worker = plan_of(tmp_path).services()[-1]
    (tmp_path / "analysis-worker.health").touch()
    await worker.prepare()
    assert not await worker.ready()
    (tmp_path / "analysis-worker.health").touch()
    assert await worker.ready()
