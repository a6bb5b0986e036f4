"""`plumbline slo validate`, as a pipeline calls it."""

import json
import re
import shlex
import shutil
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from typer.testing import CliRunner, Result

from plumbline_cli import slo
from plumbline_cli.main import app

GOOD = dedent(
    """\
    apiVersion: openslo/v1
    kind: SLO
    metadata: {name: checkout}
    spec:
      service: shop
      indicatorRef: answered
      timeWindow: [{duration: 4w, isRolling: true}]
      budgetingMethod: Occurrences
      objectives: [{target: 0.999}]
    """
)
SLI = dedent(
    """\
    apiVersion: openslo/v1
    kind: SLI
    metadata: {name: answered}
    spec:
      ratioMetric:
        good: {metricSource: {type: Prometheus, spec: {query: good}}}
        total: {metricSource: {type: Prometheus, spec: {query: total}}}
    """
)


def run(*arguments: str, text: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["slo", "validate", *arguments], input=text, catch_exceptions=False)


def test_files_and_folders_are_checked_as_one_set(tmp_path: Path) -> None:
    (tmp_path / "slis").mkdir()
    (tmp_path / "slis/answered.yml").write_text(SLI)
    (tmp_path / "checkout.yaml").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("not looked at: {")
    result = run(str(tmp_path), "--strict")
    assert (result.exit_code, result.output) == (0, "2 objects, 0 errors, 0 warnings\n")


def test_a_fault_is_told_with_its_place_and_fails(tmp_path: Path) -> None:
    file = tmp_path / "checkout.yaml"
    file.write_text(GOOD.replace("0.999", "99.9") + "---\n" + SLI)
    result = run(str(file))
    assert result.exit_code == 2
    first, last = result.output.splitlines()
    assert first == (f"{file}:9:17: error: /spec/objectives/0/target must be less than 1, not 99.9 (SLO checkout)")
    assert last == "1 object, 1 error, 0 warnings"


def test_a_warning_fails_only_where_it_is_asked_to(tmp_path: Path) -> None:
    file = tmp_path / "checkout.yaml"
    file.write_text(GOOD)
    assert run(str(file)).exit_code == 0
    assert "warning: /spec/indicatorRef there is no SLI answered" in run(str(file)).output
    assert run(str(file), "--strict").exit_code == 2


def test_standard_input_and_json() -> None:
    result = run("-", "-o", "json", text=GOOD + "---\n" + SLI.replace("good:", "godo:"))
    assert result.exit_code == 2
    told = json.loads(result.output)
    assert told["objects"] == 1
    (error,) = (
        finding for finding in told["findings"] if finding["severity"] == "error" and "godo" in finding["pointer"]
    )
    assert error == {
        "file": "-",
        "line": 16,
        "column": 5,
        "document": 2,
        "pointer": "/spec/ratioMetric/godo",
        "severity": "error",
        "reason": "openslo/v1 has no godo here; is good meant?",
        "subject": "SLI answered",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe", "is not UTF-8: byte 0"),
        (b"a" * (slo.LARGEST + 1), "is larger than 16 MiB; split it"),
    ],
)
def test_what_is_no_text_is_told(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "checkout.yaml"
    file.write_bytes(content)
    result = run(str(file))
    assert result.exit_code == 2
    assert reason in result.output


def test_a_path_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    missing = run(str(tmp_path / "missing.yaml"))
    assert (missing.exit_code, "No such file" in missing.output) == (2, True)
    empty = run(str(tmp_path))
    assert (empty.exit_code, "holds no .yaml" in empty.output) == (2, True)


def test_rules_of_the_examples_are_written(tmp_path: Path) -> None:
    examples = Path(__file__).parents[2] / "examples" / "slos"
    out = tmp_path / "rules.yaml"
    result = CliRunner().invoke(app, ["slo", "rules", str(examples), "--out", str(out)])
    assert (result.exit_code, result.output) == (0, "")
    printed = CliRunner().invoke(app, ["slo", "rules", str(examples)])
    assert printed.output == out.read_text()
    assert "alert: SLOErrorBudgetBurn" in printed.output


def test_rules_of_what_is_not_prometheus_are_refused_with_the_place(tmp_path: Path) -> None:
    file = tmp_path / "checkout.yaml"
    file.write_text(GOOD + "---\n" + SLI.replace("Prometheus", "Datadog"))
    result = CliRunner().invoke(app, ["slo", "rules", str(file)])
    assert result.exit_code == 2
    assert f"{file}:6:3: error:" in result.output
    assert "not Datadog" in result.output
    file.write_text(SLI)
    assert "there is no SLO" in CliRunner().invoke(app, ["slo", "rules", str(file)]).output


def test_diff_tells_objects_however_they_are_laid_out(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    (old / "all.yaml").write_text(GOOD + "---\n" + SLI)
    (new / "sli.yaml").write_text(SLI)
    (new / "slo.json").write_text(json.dumps(yaml.safe_load(GOOD)))
    same = CliRunner().invoke(app, ["slo", "diff", str(old), str(new)])
    assert (same.exit_code, same.output) == (0, "")
    (new / "slo.json").write_text(json.dumps(yaml.safe_load(GOOD.replace("0.999", "0.99"))))
    (new / "sli.yaml").write_text(SLI.replace("name: answered", "name: quick"))
    result = CliRunner().invoke(app, ["slo", "diff", str(old), str(new)])
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[:3] == ["- SLI answered", "+ SLI quick", "~ SLO checkout"]
    assert "    -    - target: 0.999" in lines
    assert "    +    - target: 0.99" in lines
    told = json.loads(CliRunner().invoke(app, ["slo", "diff", str(old), str(new), "-o", "json"]).output)
    assert [(each["name"], each["before"] is None) for each in told] == [
        ("answered", False), ("quick", True), ("checkout", False)
    ]  # fmt: skip


def test_a_fault_in_one_of_the_two_is_no_difference(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD)
    bad.write_text(GOOD.replace("0.999", "2"))
    result = CliRunner().invoke(app, ["slo", "diff", str(good), str(bad)])
    assert result.exit_code == 2
    assert "must be less than 1" in result.output


def test_the_commands_of_the_example_pipeline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    pipeline = yaml.safe_load((root / "examples" / "pipelines" / "slos-github.yml").read_text())
    scripts = "\n".join(step.get("run", "") for step in pipeline["jobs"]["slos"]["steps"])
    commands = re.findall(r"^\s*(plumbline .+?)(?:\s*\|\|.*)?$", scripts, re.MULTILINE)
    assert [command.split()[2] for command in commands] == ["validate", "diff", "rules"]
    for place in (tmp_path / "slos", tmp_path / "base" / "slos"):
        shutil.copytree(root / "examples" / "slos", place)
    monkeypatch.chdir(tmp_path)
    for command in commands:
        arguments = shlex.split(command.replace("$RUNNER_TEMP", str(tmp_path)))[1:]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, (command, result.output)
    assert (tmp_path / "rules.yaml").read_text().startswith("groups:")
