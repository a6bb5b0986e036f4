import json
from pathlib import Path
from typing import Any, get_args

import jwt
import pytest
import yaml

from plumbline_cli import requirements
from plumbline_common import schemas
from plumbline_requirements.listing import rules
from plumbline_stack.keys import Issuer

MEMBERS = "title: A\nstatement: The shop shall answer.\nlabels:\n  tier: 1\n"


def test_a_list_is_a_table(shell: Any, service: Any) -> None:
    service.add(title="Checkout answers quickly", status="active", verdict={"state": "MET"})
    result = shell("requirements", "list")
    assert result.exit_code == 0
    for word in ("REQ-1", "Checkout answers quickly", "active", "MET", "1 of 1"):
        assert word in result.stdout


def test_lists_in_json_and_yaml_are_the_answer(shell: Any, service: Any) -> None:
    service.add(title="Ä\x1b[31m")
    as_json = json.loads(shell("requirements", "list", "-o", "json").stdout)
    assert as_json == yaml.safe_load(shell("requirements", "list", "-o", "yaml").stdout)
    assert as_json["items"][0]["title"] == "Ä\x1b[31m"
    assert "\x1b[31m" not in shell("requirements", "list").stdout


def test_every_filter_reaches_the_gateway(shell: Any, service: Any) -> None:
    given = {
        "q": "pay", "status": "draft", "type": "latency", "priority": "must", "service": "s", "owner-team": "t",
        "label": "a=b", "reviewer": "rita", "verdict": "MET", "gap": "sli", "created-by": "x", "updated-by": "y",
        "created-after": "2026-01-01T00:00:00Z", "created-before": "2026-01-02T00:00:00Z",
        "updated-after": "2026-01-03T00:00:00Z", "updated-before": "2026-01-04T00:00:00Z",
        "sort": "-updated_at", "fields": "id,title", "facets": "status", "skip": "3", "limit": "7",
    }  # fmt: skip
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    assert shell("requirements", "list", *options, "--in-force", "-o", "json").exit_code == 0
    wanted = {name.replace("-", "_"): value for name, value in given.items()} | {"in_force": "true"}
    assert service.asked[-1][2] == wanted


def test_all_pages_follow_the_cursor(shell: Any, service: Any) -> None:
    for number in range(205):
        service.add(title=str(number))
    page = json.loads(shell("requirements", "list", "--all", "-o", "json").stdout)
    assert [each["title"] for each in page["items"]] == [str(number) for number in range(205)]
    assert len(service.asked) == 3


def test_keys_in_any_case_and_ids_name_a_requirement(shell: Any, service: Any) -> None:
    made = service.add(title="Told", labels={"a": "b"})
    for name in ("REQ-1", "req-1", made["id"], made["id"].upper()):
        result = shell("requirements", "show", name, "-o", "json")
        assert json.loads(result.stdout)["id"] == made["id"]
    assert "Told" in shell("requirements", "show", "REQ-1").stdout


def test_a_revision_and_a_time_can_be_shown(shell: Any, service: Any) -> None:
    made = service.add(title="Old")
    service.write(made["id"], {"title": "New"})
    assert "Old" in shell("requirements", "show", "REQ-1", "--revision", "1").stdout
    shell("requirements", "show", "REQ-1", "--as-of", "2026-05-01T00:00:00Z")
    assert service.asked[-1][2] == {"as_of": "2026-05-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("arguments", "env", "code", "said"),
    [
        (["show", "REQ-9"], {}, 3, "there is no requirement REQ-9"),
        (["show", "01890a5d-ac96-774b-bcce-b302099a8057"], {}, 3, "there is no such requirement"),
        (["show", "nonsense"], {}, 2, "neither a key"),
        (["list", "--status", "gone"], {}, 2, "gone"),
        (["list", "--sort", "nonsense"], {}, 2, "sort: no such"),
        (["list"], {"PLUMBLINE_TOKEN": "bad"}, 4, "the token is not valid; give another by --token"),
        (["list"], {"PLUMBLINE_URL": "http://127.0.0.1:1"}, 1, "http://127.0.0.1:1 does not answer"),
        (["list"], {"PLUMBLINE_URL": "nonsense"}, 2, "not a URL"),
        (["list"], {"PLUMBLINE_URL": None, "PLUMBLINE_FOLDER": "/does/not/exist"}, 1, "with --url and --token"),
        (["list", "--as", "rita"], {}, 2, "--token has its own"),
        (["transition", "REQ-1", "active"], {}, 5, "it can go to in_review"),
        (["transition", "REQ-1", "in_review", "--revision", "7"], {}, 5, "it is at revision 1 now"),
        (["review", "REQ-1"], {}, 2, "--approve"),
        (["review", "REQ-1", "--approve", "--reject"], {}, 2, "one of"),
        (["create"], {}, 2, "nothing to create"),
        (["create", "--title", "A", "--label", "b"], {}, 2, "needs NAME=VALUE"),
        (["create", "-f", "/does/not/exist"], {}, 2, "No such file"),
        (["diff", "REQ-1"], {}, 2, "none before it"),
    ],
)
def test_failures_have_exit_codes(
    shell: Any, service: Any, arguments: list[str], env: dict[str, str], code: int, said: str
) -> None:
    service.add()
    result = shell("requirements", *arguments, **env)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


def test_the_local_stack_signs_for_who_was_named(shell: Any, service: Any, tmp_path: Path) -> None:
    Issuer(tmp_path / "secrets")
    service.add()
    local = {"PLUMBLINE_TOKEN": None, "PLUMBLINE_FOLDER": str(tmp_path)}

    def claims(*arguments: str) -> tuple[Any, ...]:
        result = shell("requirements", *arguments, **local)
        assert result.exit_code == 0, result.output
        told = jwt.decode(service.tokens[-1], options={"verify_signature": False})
        return told["sub"], told["roles"], told["teams"]

    assert claims("list") == ("cli", ["viewer"], ["platform"])
    assert claims("review", "REQ-1", "--comment", "a") == ("cli", ["reviewer"], ["platform"])
    named = ("--as", "rita", "--role", "reviewer", "--role", "editor", "--team", "a", "--team", "b")
    assert claims("list", *named) == ("rita", ["reviewer", "editor"], ["a", "b"])
    nowhere = shell("requirements", "list", **local | {"PLUMBLINE_FOLDER": str(tmp_path / "none")})
    assert (nowhere.exit_code, "holds no stack" in nowhere.stderr) == (1, True)


def test_exit_codes_stand_in_the_help(shell: Any) -> None:
    for command in (["requirements"], ["requirements", "edit"], ["audit", "verify"]):
        assert "5 conflict" in " ".join(shell(*command, "--help").stdout.split())


# --- create ---------------------------------------------------------------------------------------------


def test_create_from_options(shell: Any, service: Any) -> None:
    result = shell(
        "requirements", "create", "--title", "A", "--type", "latency", "--label", "a=b=c", "--owner-team", "t"
    )
    assert result.exit_code == 0, result.output
    [made] = service.documents.values()
    assert (made["title"], made["type"], made["labels"], made["owner_team"]) == ("A", "latency", {"a": "b=c"}, "t")


@pytest.mark.parametrize("text", [MEMBERS, json.dumps(yaml.safe_load(MEMBERS) | {"labels": {"tier": "1"}})])
def test_create_from_standard_input(shell: Any, service: Any, text: str) -> None:
    result = shell("requirements", "create", "-f", "-", "--title", "B", "-o", "json", input=text)
    assert json.loads(result.stdout)["key"] == "REQ-1"
    [made] = service.documents.values()
    assert (made["title"], made["labels"]) == ("B", {"tier": "1"})


def test_create_from_a_catalog(shell: Any, service: Any, tmp_path: Any) -> None:
    file = tmp_path / "some.yaml"
    document = {"apiVersion": "plumbline/v1", "kind": "Requirement", "metadata": {"name": "n"}}
    file.write_text(yaml.safe_dump_all([document | {"spec": {"title": "A"}}, document | {"spec": {"title": "B"}}]))
    made = json.loads(shell("requirements", "create", "-f", str(file), "-o", "json").stdout)
    assert [(each["title"], each["labels"]) for each in made] == [("A", {"name": "n"}), ("B", {"name": "n"})]


def test_what_show_prints_can_be_created(shell: Any, service: Any) -> None:
    service.add(title="A", labels={"a": "b"})
    for output in ("json", "yaml"):
        text = shell("requirements", "show", "REQ-1", "-o", output).stdout
        assert shell("requirements", "create", "-f", "-", input=text).exit_code == 0
    assert [each["labels"] for each in service.documents.values()] == [{"a": "b"}] * 3


def test_a_lost_answer_is_asked_for_again_and_creates_no_double(shell: Any, service: Any) -> None:
    service.failures = [503]
    assert shell("requirements", "create", "--title", "A").exit_code == 0
    assert len(service.documents) == 1


def test_the_key_of_a_failed_creation_makes_the_next_try_safe(shell: Any, service: Any) -> None:
    service.failures = [503, 503, 503]
    result = shell("requirements", "create", "--title", "A")
    assert result.exit_code == 1
    key = result.stderr.split("--idempotency-key ")[1].split()[0]
    assert shell("requirements", "create", "--title", "A", "--idempotency-key", key).exit_code == 0
    assert len(service.documents) == 1
    again = shell("requirements", "create", "--title", "B", "--idempotency-key", key)
    assert (again.exit_code, "another request" in again.stderr) == (2, True)


def test_a_file_that_failed_half_way_goes_on_where_it_stopped(shell: Any, service: Any) -> None:
    first = shell("requirements", "create", "-f", "-", input="title: A\n---\ntitle: B\nwrong: 1\n")
    assert first.exit_code == 2
    assert "document 2 of 2" in first.stderr
    assert "/wrong: not known" in first.stderr
    key = first.stderr.split("--idempotency-key ")[1].split()[0]
    assert (
        shell(
            "requirements", "create", "-f", "-", "--idempotency-key", key, input="title: A\n---\ntitle: B\n"
        ).exit_code
        == 0
    )
    assert [each["title"] for each in service.documents.values()] == ["A", "B"]


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "just text", "kind: Requirement\napiVersion: v9\n"])
def test_what_is_no_requirement_is_refused_before_anything_is_sent(shell: Any, service: Any, text: str) -> None:
    assert shell("requirements", "create", "-f", "-", input=text).exit_code == 2
    assert service.asked == []


# --- transition, review, diff, history ------------------------------------------------------------------


def test_a_requirement_is_reviewed_and_its_history_told(shell: Any, service: Any) -> None:
    service.add(title="A")
    asked = shell("requirements", "transition", "REQ-1", "in_review", "--reason", "ready", "--reviewer", "rita")
    assert asked.exit_code == 0, asked.output
    [document] = service.documents.values()
    assert document["reviewers"] == ["rita"]
    assert shell("requirements", "review", "REQ-1", "--comment", "why?").exit_code == 0
    approved = shell("requirements", "review", "REQ-1", "--approve", "--comment", "fine")
    assert "approve; it is approved (1 of 1 approvals)" in approved.stdout
    assert [(each["decision"], each["comment"]) for each in service.reviews] == [
        ("comment", "why?"),
        ("approve", "fine"),
    ]
    history = shell("requirements", "history", "REQ-1")
    assert "ready" in history.stdout
    told = json.loads(shell("requirements", "history", "REQ-1", "-o", "json").stdout)
    assert [each["revision"] for each in told["items"]] == [3, 2, 1]


def test_another_revision_than_the_one_read_is_not_approved(shell: Any, service: Any) -> None:
    made = service.add(status="in_review")
    service.write(made["id"], {"title": "B"})
    assert shell("requirements", "review", "REQ-1", "--approve", "--revision", "1").exit_code == 5
    assert service.reviews == []


def test_all_of_a_long_history(shell: Any, service: Any) -> None:
    made = service.add()
    for number in range(120):
        service.write(made["id"], {"title": str(number)})
    told = json.loads(shell("requirements", "history", "REQ-1", "--all", "-o", "json").stdout)
    assert [each["revision"] for each in told["items"]] == list(range(121, 0, -1))


def test_a_diff_begins_at_what_is_in_force(shell: Any, service: Any) -> None:
    made = service.add(title="The old title", description="one\ntwo\nthree", in_force=1)
    service.write(made["id"], {"title": "The new title"})
    service.write(made["id"], {"description": "one\n2\nthree"})
    result = shell("requirements", "diff", "REQ-1")
    for line in (
        "--- REQ-1 revision 1",
        "+++ REQ-1 revision 3",
        "@@ /title @@",
        "-The old title",
        "+The new title",
        "-two",
        "+2",
        " one",
    ):
        assert line in result.stdout.split("\n")
    assert "title" not in shell("requirements", "diff", "REQ-1", "--from", "2", "--to", "3").stdout
    beside = shell("requirements", "diff", "REQ-1", "-y").stdout
    assert "The old title" in beside
    assert "The new title" in beside
    assert "say the same" in shell("requirements", "diff", "REQ-1", "--from", "3", "--to", "3").stdout


# --- Completion -----------------------------------------------------------------------------------------


def completed(shell: Any, *words: str) -> list[str]:
    env = {
        "_PLUMBLINE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("plumbline", *words)),
        "COMP_CWORD": str(len(words)),
    }
    return shell(**env).stdout.split()


def test_the_shell_completes_commands_states_and_keys(shell: Any, service: Any) -> None:
    service.add(title="A")
    service.add(title="B")
    assert completed(shell, "requirements", "hi") == ["history"]
    assert completed(shell, "requirements", "show", "REQ-") == ["REQ-1", "REQ-2"]
    assert completed(shell, "audit", "list", "REQ-2") == ["REQ-2"]
    assert completed(shell, "requirements", "transition", "REQ-1", "a") == ["approved", "active"]
    assert completed(shell, "requirements", "list", "--output", "y") == ["yaml"]


def test_completion_without_a_gateway_is_silent(shell: Any) -> None:
    shell.env["PLUMBLINE_URL"] = "http://127.0.0.1:1"
    assert completed(shell, "requirements", "show", "REQ") == []
    shell.env |= {"PLUMBLINE_URL": None, "PLUMBLINE_TOKEN": None, "PLUMBLINE_FOLDER": str(shell.folder / "none")}
    assert completed(shell, "requirements", "show", "REQ") == []


def test_the_choices_are_those_of_the_api() -> None:
    pairs = {
        requirements.Status: schemas.RequirementStatus,
        requirements.Type: schemas.RequirementType,
        requirements.Priority: schemas.Priority,
        requirements.Verdict: schemas.VerdictState,
    }
    assert [each.value for each in requirements.Gap] == list(get_args(rules.Gap))
    for choices, kind in pairs.items():
        assert list(get_args(choices)) == [each.value for each in kind]


def test_suspect_links_are_asked_for_and_shown(shell: Any, service: Any) -> None:
    service.add(suspect_links=2)
    result = shell("requirements", "list", "--suspect")
    assert result.exit_code == 0, result.output
    assert "2 suspect links" in " ".join(result.output.split())
    assert service.asked[-1][2]["suspect"] == "true"


def test_impact_lists_what_a_change_reaches(shell: Any, service: Any) -> None:
    service.add()
    service.add(title="Derived")
    result = shell("requirements", "impact", "REQ-1")
    assert result.exit_code == 0, result.output
    assert "Derived" in result.output
    assert "deleted" in result.output
    assert "2 of 2" in result.output
    assert (
        json.loads(shell("requirements", "impact", "REQ-1", "--type", "conflicts", "-o", "json").output)["total"] == 0
    )


# --- Lint -----------------------------------------------------------------------------------------------


def test_lint_tells_place_and_source_and_fails_on_errors(shell: Any, service: Any, tmp_path: Path) -> None:
    service.add(statement="It shall be fast.")
    result = shell("requirements", "lint", "REQ-1")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "REQ-1, statement 13-16: warning vague: told of 'fast'",
        "  say what (a book)",
        "1 requirement, 0 errors, 1 warning",
    ]
    assert shell("requirements", "lint", "REQ-1", "--strict").exit_code == 1
    file = tmp_path / "more.yaml"
    file.write_text(
        "title: A\nstatement: Within TBD ms.\n---\ntitle: B\nstatement: fast\nlabels: {lint.vague: why}\n"
    )
    result = shell("requirements", "lint", "-f", str(file), "REQ-1")
    assert result.exit_code == 1
    assert f"{file}, document 1, statement 8-10: error placeholder" in result.output
    assert "document 2" not in result.output
    assert result.output.endswith("3 requirements, 1 error, 1 warning\n")


def test_lint_as_json_has_what_the_service_says(shell: Any, service: Any) -> None:
    service.add(statement="It shall be fast.")
    (report,) = json.loads(shell("requirements", "lint", "REQ-1", "-o", "json").output)["items"]
    assert (report["requirement"], report["findings"][0]["rule"]) == ("REQ-1", "vague")


def test_lint_of_nothing_is_usage(shell: Any) -> None:
    assert shell("requirements", "lint").exit_code == 2
