"""The alerts, read without kubectl; promtool plays them through where it is."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from checks import rules
from checks.manifests import FOLDER, Manifests
from plumbline_common import reference
from plumbline_common.instruments import Kind


@pytest.fixture
def alerts() -> Manifests:
    files = (FOLDER / "base/rules.yaml", FOLDER / "overlays/prod/database.yaml")
    return Manifests(each for path in files for each in yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("check", [rules.metrics_are_exposed, rules.bounds_are_buckets, rules.alerts_have_pages])
def test_the_alerts_can_fire(alerts: Manifests, check: Callable[[Manifests], object]) -> None:
    assert list(check(alerts)) == []  # type: ignore[call-overload]


def test_a_page_lists_every_alert(alerts: Manifests) -> None:
    index = (rules.ROOT / "docs/runbooks/README.md").read_text()
    names = {
        r["alert"]
        for a in alerts.kind("PrometheusRule")
        for g in a["spec"]["groups"]
        for r in g["rules"]
        if "alert" in r
    }
    assert {
        name
        for name in names
        if name.removesuffix("Slowly").removesuffix("BurnsFast").removesuffix("Burns") not in index
    } == set()


def test_promtool_plays_the_alerts_through(alerts: Manifests, tmp_path: Path) -> None:
    if (program := rules.promtool()) is None:
        pytest.skip("promtool is not on PATH (Debian's package `prometheus`)")
    (tmp_path / "rules.yaml").write_text(rules.rule_file(alerts))
    (tmp_path / "alerts.yaml").write_text((Path(__file__).parent / "alerts.yaml").read_text())
    done = subprocess.run(
        [program, "test", "rules", tmp_path / "alerts.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "unit", "kind", "found"),
    [
        ("plumbline.outbox.age", "s", "gauge", {"plumbline_outbox_age_seconds"}),
        ("plumbline.jobs", "{job}", "gauge", {"plumbline_jobs"}),
        ("plumbline.analysis.points", "{point}", "counter", {"plumbline_analysis_points_total"}),
        (
            "http.server.request.duration",
            "s",
            "histogram",
            {f"http_server_request_duration_seconds_{each}" for each in ("bucket", "count", "sum")},
        ),
    ],
)
def test_names_in_prometheus(name: str, unit: str, kind: Kind, found: set[str]) -> None:
    assert reference.exposed(name, unit, kind) == found
    assert found <= rules.metrics_of_the_suite()


def test_the_metrics_of_an_expression() -> None:
    expression = 'max by (a, b) (rate(x_total{c="d", le="y_total"}[5m])) / on (a) group_left (e) z:ratio > 1'
    expression += " and absent(w) or q offset 5m > 2"
    assert rules.asked(expression) == {"x_total", "z:ratio", "w", "q"}
