import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from plumbline_common.openslo import checking, prometheus, writing
from plumbline_common.openslo.objects import SLO
from plumbline_common.openslo.prometheus import NotForPrometheus

EXAMPLES = Path(__file__).parents[4] / "examples" / "slos"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool, of Debian's package prometheus, is not here")


def query(text: str, kind: str | None = "Prometheus") -> dict[str, Any]:
    return {"metricSource": {"type": kind, "spec": {"query": text}}}


def slo(sli: dict[str, Any], *, window: str = "30d", method: str = "Occurrences", **objective: Any) -> SLO:
    found = checking.check(
        {
            "slo.yaml": writing.dump(
                {
                    "apiVersion": "openslo/v1",
                    "kind": "SLO",
                    "metadata": {"name": "one"},
                    "spec": {
                        "service": "shop",
                        "indicator": {"metadata": {"name": "sli"}, "spec": sli},
                        "timeWindow": [{"duration": window, "isRolling": True}],
                        "budgetingMethod": method,
                        "objectives": [{"target": 0.999} | objective],
                    },
                }
            )
        }
    )
    assert found.ok, found.findings
    (one,) = found.objects
    assert isinstance(one.object, SLO)
    return one.object


BAD = {"ratioMetric": {"bad": query('errors{job="a"}'), "total": query('requests{job="a"}')}}


def recorded(one: SLO) -> dict[str, str]:
    recordings, _ = prometheus.rules(one)
    return {each["record"]: each["expr"] for each in recordings["rules"]}


def alerts(one: SLO) -> dict[str, str]:
    _, found = prometheus.rules(one)
    return {each["labels"]["severity"]: each["expr"] for each in found["rules"]}


def test_a_counter_is_rated_over_each_window_of_the_alerts() -> None:
    found = recorded(slo(BAD))
    assert found["slo:error:ratio_rate5m"] == (
        '(sum(rate(errors{job="a"}[5m])) or vector(0))\n/\nsum(rate(requests{job="a"}[5m]))'
    )
    windows = [name.removeprefix("slo:error:ratio_rate") for name in found if name.startswith("slo:error:ratio_rate")]
    assert windows == ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"]
    assert found["slo:error_budget:ratio"] == "vector(0.001)"


@pytest.mark.parametrize(
    ("sli", "expected"),
    [
        (
            {"ratioMetric": {"good": query("ok"), "total": query("all")}},
            "1 - (\nsum(rate(ok[5m]))\n/\nsum(rate(all[5m]))\n)",
        ),
        (
            {"ratioMetric": {"good": query("sum by (a) (ok)"), "total": query("sum by (a) (all)")}},
            "1 - (\nsum by (a) (rate(ok[5m]))\n/\nsum by (a) (rate(all[5m]))\n)",
        ),
        (
            {"ratioMetric": {"good": query("sum(rate(ok[{{.window}}]))"), "total": query("sum(rate(all[$window]))")}},
            "1 - (\n(sum(rate(ok[5m])))\n/\n(sum(rate(all[5m])))\n)",
        ),
        (
            {"ratioMetric": {"counter": False, "good": query("ok"), "total": query("all")}},
            "1 - (\nsum(sum_over_time((ok)[5m:]))\n/\nsum(sum_over_time((all)[5m:]))\n)",
        ),
        (
            {"ratioMetric": {"good": query("a + b"), "total": query('x{a="}"}')}},
            '1 - (\nsum(rate((a + b)[5m:]))\n/\nsum(rate(x{a="}"}[5m]))\n)',
        ),
        ({"ratioMetric": {"raw": query("r"), "rawType": "success"}}, "1 - avg_over_time((r)[5m:])"),
        ({"ratioMetric": {"raw": query("r[{{ .window }}]"), "rawType": "failure"}}, "(r[5m])"),
    ],
)
def test_the_forms_of_a_ratio(sli: dict[str, Any], expected: str) -> None:
    assert recorded(slo(sli))["slo:error:ratio_rate5m"] == expected


@pytest.mark.parametrize(("op", "bad"), [("lte", ">"), ("lt", ">="), ("gte", "<"), ("gt", "<=")])
def test_a_threshold_counts_its_samples(op: str, bad: str) -> None:
    found = recorded(slo({"thresholdMetric": query("p95")}, op=op, value=0.25))
    assert found["slo:error:ratio_rate5m"] == f"avg_over_time(((p95) {bad} bool 0.25)[5m:])"


def test_slices_are_counted_in_their_own_length() -> None:
    one = slo(BAD, method="Timeslices", timeSliceTarget=0.95, timeSliceWindow="1m")
    assert recorded(one)["slo:error:ratio_rate1h"] == (
        'avg_over_time(((\n(sum(rate(errors{job="a"}[1m])) or vector(0))\n/\nsum(rate(requests{job="a"}[1m]))\n)'
        " > bool 0.05)[1h:1m])"
    )
    one = slo(BAD, method="RatioTimeslices", timeSliceWindow=5)
    assert recorded(one)["slo:error:ratio_rate1h"].endswith("\n)[1h:5m])")
    assert " > bool " not in recorded(one)["slo:error:ratio_rate1h"]


def test_the_rates_are_the_workbooks_for_30_days_and_follow_the_window() -> None:
    page, ticket = alerts(slo(BAD))["page"], alerts(slo(BAD))["ticket"]
    assert "(14.4 * 0.001)" in page
    assert "(6 * 0.001)" in page
    assert "(3 * 0.001)" in ticket
    assert "(1 * 0.001)" in ticket
    assert "(13.44 * 0.001)" in alerts(slo(BAD, window="4w"))["page"]
    assert set(alerts(slo(BAD, window="1h"))) == {"ticket"}


def test_what_is_no_source_of_prometheus_is_told() -> None:
    sli = {"thresholdMetric": query("x", "Datadog")}
    with pytest.raises(NotForPrometheus, match="not Datadog") as error:
        prometheus.rules(slo(sli, op="lt", value=1))
    assert error.value.path == ("spec", "indicator", "spec", "thresholdMetric", "metricSource", "type")
    empty = {"thresholdMetric": {"metricSource": {"type": "Prometheus", "spec": {"query": " "}}}}
    with pytest.raises(NotForPrometheus, match="is required: the PromQL"):
        prometheus.rules(slo(empty, op="lt", value=1))


def example_rules() -> list[dict[str, Any]]:
    checked = checking.check({file.name: file.read_text() for file in EXAMPLES.glob("*.yaml")})
    things = [each.object for each in checked.objects]
    return [group for thing in things if isinstance(thing, SLO) for group in prometheus.rules(thing, things)]


def run(*arguments: str, cwd: Path) -> str:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_examples_become_rules() -> None:
    assert [group["name"] for group in example_rules()] == [
        "openslo-recordings-checkout-checkout-availability-0",
        "openslo-alerts-checkout-checkout-availability-0",
        "openslo-recordings-checkout-checkout-latency-0",
        "openslo-alerts-checkout-checkout-latency-0",
    ]


@needs_promtool
@pytest.mark.parametrize(
    "sli",
    [
        BAD,
        {"ratioMetric": {"good": query("sum(ok)"), "total": query("sum(all)")}},
        {"ratioMetric": {"raw": query("r"), "rawType": "failure"}},
        {"ratioMetric": {"counter": False, "good": query("a + b"), "total": query("c")}},
    ],
)
@pytest.mark.parametrize("method", ["Occurrences", "Timeslices", "RatioTimeslices"])
def test_promtool_takes_the_rules(tmp_path: Path, sli: dict[str, Any], method: str) -> None:
    slices = {} if method == "Occurrences" else {"timeSliceWindow": "1m", "timeSliceTarget": 0.9}
    one = slo(sli, method=method, displayName='"odd" \\ name', **slices)
    (tmp_path / "rules.yaml").write_text(writing.dump({"groups": prometheus.rules(one)}))
    assert "SUCCESS: 16 rules found" in run("check", "rules", "rules.yaml", cwd=tmp_path)


@needs_promtool
def test_promtool_sees_the_alert_fire_and_not_fire(tmp_path: Path) -> None:
    """5 % of errors burn 50 times as fast as a budget of 0.1 % allows; without any error nothing is said."""
    (tmp_path / "rules.yaml").write_text(writing.dump({"groups": example_rules()}))
    total = 'http_server_request_duration_seconds_count{service="checkout", http_response_status_code="200"}'
    failed = total.replace("200", "503")

    def case(series: list[dict[str, str]], alerts: list[dict[str, Any]]) -> dict[str, Any]:
        expected = {"eval_time": "2h", "alertname": "SLOErrorBudgetBurn", "exp_alerts": alerts}
        return {"interval": "1m", "input_series": series, "alert_rule_test": [expected]}

    labels = {"openslo_service": "checkout", "openslo_slo": "checkout-availability", "openslo_objective": "Answered"}
    annotations = {
        "summary": "checkout: Checkout answers burns its budget",
        "description": "Customers who cannot check out go elsewhere.",
    }
    fires = [
        {"exp_labels": labels | {"severity": severity}, "exp_annotations": annotations}
        for severity in ("page", "ticket")
    ]
    steady = {"series": total, "values": "0+950x180"}
    tests = [
        case([steady, {"series": failed, "values": "0+50x180"}], fires),
        case([steady], []),
        case([], []),
    ]
    whole = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(whole))
    assert "SUCCESS" in run("test", "rules", "test.yaml", cwd=tmp_path)
