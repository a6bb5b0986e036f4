"""`plumbline slo validate`, as a pipeline calls it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
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


# --- With a server --------------------------------------------------------------------------------------

CLIENT = httpx.AsyncClient
SERVER = ["--url", "http://gateway", "--token", "t"]


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[httpx.Response], list[httpx.Request]]:
    """Makes every request be answered so; the requests, as they come."""

    def answer(response: httpx.Response) -> list[httpx.Request]:
        asked: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return response

        monkeypatch.setattr(httpx, "AsyncClient", partial(CLIENT, transport=httpx.MockTransport(handle)))
        return asked

    return answer


def at(document: int, pointer: str, detail: str) -> dict[str, Any]:
    return {"line": 1, "column": 1, "document": document, "pointer": pointer, "subject": "", "detail": detail}


def test_what_the_server_refuses_is_told_at_its_place_in_the_file(tmp_path: Path, answering: Any) -> None:
    (tmp_path / "a.yaml").write_text(SLI)
    (tmp_path / "b.yaml").write_text(GOOD)
    place = {
        "line": 1,
        "column": 1,
        "document": 2,
        "pointer": "/metadata/name",
        "subject": "",
        "detail": "which one?",
    }
    answering(httpx.Response(422, json={"detail": "x", "errors": [place]}))
    result = CliRunner().invoke(app, ["slo", "import", str(tmp_path), *SERVER])
    assert result.exit_code == 2
    assert f"{tmp_path}/b.yaml:3:12: error: /metadata/name which one? (SLO checkout)" in result.output


def test_an_import_tells_what_changed_and_warns_at_the_place(tmp_path: Path, answering: Any) -> None:
    (tmp_path / "b.yaml").write_text(GOOD)
    place = {
        "line": 1,
        "column": 1,
        "document": 1,
        "pointer": "/spec/indicatorRef",
        "subject": "",
        "detail": "no SLI",
    }
    named = {"id": "0190", "key": "REQ-7", "title": "Checkout", "revision": 3}
    changes = [
        {"kind": "SLI", "name": "a", "action": "created", "requirement": None, "differences": [], "because": None},
        {"kind": "SLI", "name": "b", "action": "unchanged", "requirement": None, "differences": [], "because": None},
        {
            "kind": "SLO",
            "name": "c",
            "action": "updated",
            "requirement": named,
            "differences": [{"pointer": "/spec/objectives/0/target", "before": 0.9, "after": 0.99}],
            "because": "the SLI a changes",
        },
    ]
    done = {"dry_run": True, "created": 1, "updated": 1, "unchanged": 1, "changes": changes, "warnings": [place]}
    asked = answering(httpx.Response(200, json=done))
    result = CliRunner().invoke(app, ["slo", "import", str(tmp_path), "--dry-run", *SERVER])
    assert result.exit_code == 0
    assert [(each.url.path, each.url.params["dry_run"]) for each in asked] == [("/api/v1/openslo/import", "true")]
    assert result.output.splitlines() == [
        f"{tmp_path}/b.yaml:6:3: warning: /spec/indicatorRef no SLI (SLO checkout)",
        "+ SLI a",
        "~ SLO c of REQ-7 (revision 3): the SLI a changes",
        "    /spec/objectives/0/target: 0.9 → 0.99",
        "1 created, 1 updated, 1 unchanged; nothing was written (dry run)",
    ]


def test_an_export_that_breaks_off_leaves_no_file(tmp_path: Path, answering: Any) -> None:
    out = tmp_path / "out.yaml"
    answering(httpx.Response(200, text="---\nkind: SLO\n"))
    result = CliRunner().invoke(app, ["slo", "export", "--out", str(out), *SERVER])
    assert (result.exit_code, "broke off" in result.output) == (1, True)
    assert list(tmp_path.iterdir()) == []
    answering(httpx.Response(200, text="---\nkind: SLO\n# 1 object\n"))
    result = CliRunner().invoke(app, ["slo", "export", "--out", str(out), *SERVER])
    assert result.exit_code == 0, result.output
    assert out.read_text() == "---\nkind: SLO\n# 1 object\n"
