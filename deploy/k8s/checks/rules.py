"""Whether the alerts can fire: somebody exposes their metrics, each has its page, and promtool takes them."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import yaml

from checks.manifests import FOLDER, Manifests, Resource
from plumbline_common import reference

ROOT = FOLDER.parents[1]
FOREIGN = {
    # kube-state-metrics
    "kube_deployment_spec_replicas",
    "kube_deployment_status_replicas_available",
    "kube_job_status_failed",
    "kube_job_status_succeeded",
    "kube_statefulset_replicas",
    "kube_statefulset_status_replicas_ready",
    # CloudNativePG and its Barman Cloud plugin
    "cnpg_pg_replication_lag",
    "barman_cloud_cloudnative_pg_io_last_available_backup_timestamp",
    # prometheus-nats-exporter
    "jetstream_stream_last_seq",
}
"""What others expose that the alerts ask for."""
_WORDS = {
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "by",
    "on",
    "without",
    "ignoring",
    "group_left",
    "group_right",
    "inf",
    "nan",
}


@cache
def metrics_of_the_suite() -> frozenset[str]:
    """Those of docs/metrics.md, under their names in Prometheus."""
    exposed = (reference.exposed(each.name, each.unit, each.kind) for each in reference.every(ROOT))
    return frozenset(chain.from_iterable(exposed))


def asked(expression: str) -> set[str]:
    """The names of metrics in a PromQL expression."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    names = re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)\b(?!\s*\()", bare)
    return {name for name in names if name not in _WORDS}


def _rules(manifests: Manifests) -> Iterator[tuple[str, Resource]]:
    for resource in manifests.kind("PrometheusRule"):
        for group in resource["spec"]["groups"]:
            for rule in group["rules"]:
                yield str(rule.get("alert") or rule.get("record")), rule


def metrics_are_exposed(manifests: Manifests) -> Iterator[str]:
    recorded = {rule["record"] for _, rule in _rules(manifests) if "record" in rule}
    known = metrics_of_the_suite() | FOREIGN | recorded
    for name, rule in _rules(manifests):
        yield from (
            f"{name} asks for {metric}, which nobody exposes" for metric in sorted(asked(rule["expr"]) - known)
        )


def bounds_are_buckets(manifests: Manifests) -> Iterator[str]:
    from plumbline_common.telemetry import SECONDS

    for name, rule in _rules(manifests):
        for bound in re.findall(r'le="([^"]+)"', rule["expr"]):
            if float(bound) not in SECONDS:
                yield f"{name} asks for the bucket le={bound}, which the histogram does not have"


def alerts_have_pages(manifests: Manifests) -> Iterator[str]:
    for name, rule in _rules(manifests):
        if "alert" not in rule:
            continue
        if rule.get("labels", {}).get("severity") not in ("page", "ticket"):
            yield f"{name} does not say whether it wakes somebody"
        path, _, anchor = str(rule.get("annotations", {}).get("runbook_url", "")).partition("#")
        page = ROOT / path
        if not path or not page.is_file():
            yield f"{name} names the page {path or '(none)'}, which is not there"
        elif anchor != name.lower() or not re.search(rf"^#+ {name}$", page.read_text(), re.MULTILINE):
            yield f"{name} has no heading of its name in {path}"


def promtool() -> str | None:
    return shutil.which("promtool")


def promtool_takes_them(manifests: Manifests) -> Iterator[str]:
    """Debian's package `prometheus` has promtool. Without it nothing is found here, and the caller says so."""
    if (program := promtool()) is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rules.yaml"
        path.write_text(rule_file(manifests))
        done = subprocess.run(
            [program, "check", "rules", "--lint-fatal", str(path)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        yield f"promtool: {' '.join((done.stdout + done.stderr).split())}"


def rule_file(manifests: Manifests) -> str:
    """All rules as Prometheus reads them without its operator."""
    return yaml.safe_dump(
        {"groups": [group for rule in manifests.kind("PrometheusRule") for group in rule["spec"]["groups"]]}
    )


CHECKS = (metrics_are_exposed, bounds_are_buckets, alerts_have_pages, promtool_takes_them)
