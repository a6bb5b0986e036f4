import json
from pathlib import Path
from typing import Any

import pytest


def put(old: str, new: str) -> str:
    """An edit that replaces text."""
    return f"assert {old!r} in text; text = text.replace({old!r}, {new!r})"


def only(service: Any) -> dict[str, Any]:
    [document] = service.documents.values()
    return dict(document)


def test_only_what_changed_is_written(shell: Any, service: Any) -> None:
    service.add(title="Old", statement="Stays.", labels={"a": "1", "b": "2"})
    shell.edits(put("title: Old", "title: New") + "\n" + put("  b: '2'\n", ""))
    result = shell("requirements", "edit", "REQ-1", "--reason", "clearer")
    assert result.exit_code == 0, result.output
    assert "changed: title, labels (revision 2)" in result.stdout
    assert (only(service)["title"], only(service)["labels"]) == ("New", {"a": "1"})
    assert service.revisions[only(service)["id"]][-1]["told"]["changed"] == ["labels", "title"]
    assert service.asked[-1][2] == {"reason": "clearer"}
    assert shell.kept() == []


def test_the_form_shows_the_editable_members(shell: Any, service: Any) -> None:
    service.add(title="A", description="one\ntwo\n")
    shell.edits()
    shell("requirements", "edit", "REQ-1")
    [form] = shell.shown()
    assert form.startswith("# plumbline: REQ-1 revision 1\n")
    assert "description: |\n  one\n  two\n" in form
    assert "owner_team: null" in form
    assert "fingerprint" not in form


@pytest.mark.parametrize("edit", ["", "text = ''", "text = '# nothing'", "text += '# a comment'"])
def test_without_a_change_nothing_is_written(shell: Any, service: Any, edit: str) -> None:
    service.add()
    shell.edits(edit)
    result = shell("requirements", "edit", "REQ-1")
    assert (result.exit_code, result.stdout) == (0, "REQ-1: nothing changed\n")
    assert only(service)["revision"] == 1
    assert shell.kept() == []


def test_visual_goes_before_editor(shell: Any, service: Any) -> None:
    service.add()
    shell.edits(put("title: A", "title: B"))
    assert shell("requirements", "edit", "REQ-1", VISUAL=shell.env["EDITOR"], EDITOR="false").exit_code == 0
    assert only(service)["title"] == "B"


# --- Others write meanwhile -----------------------------------------------------------------------------


def test_changes_of_others_to_other_members_are_kept(shell: Any, service: Any) -> None:
    made = service.add(title="Old", labels={"a": "1"}, slos=[{"name": "p", "target": 0.9}])
    theirs = {"statement": "Theirs.", "labels": {"a": "1", "b": "theirs"}, "slos": [{"name": "p", "target": 0.8}]}
    service.beforehand = [lambda: service.write(made["id"], theirs)]
    shell.edits(
        put("title: Old", "title: Mine")
        + "\n"
        + put("  a: '1'", "  a: mine")
        + "\n"
        + put("slos:\n", "slos:\n  - {name: q, target: 0.5}\n")
    )
    result = shell("requirements", "edit", "REQ-1")
    assert result.exit_code == 0, result.output
    assert "changed meanwhile by rita (revision 2); kept of theirs: statement, labels, slos" in result.stderr
    after = only(service)
    assert (after["title"], after["statement"], after["revision"]) == ("Mine", "Theirs.", 3)
    assert after["labels"] == {"a": "mine", "b": "theirs"}
    assert after["slos"] == [{"name": "p", "target": 0.8}, {"name": "q", "target": 0.5}]
    assert len(shell.shown()) == 1


def test_an_edit_that_is_overtaken_again_and_again_still_arrives(shell: Any, service: Any) -> None:
    made = service.add()
    service.beforehand = [
        lambda n=n: service.write(made["id"], {"labels": only(service)["labels"] | {f"l{n}": ""}}) for n in range(5)
    ]
    shell.edits(put("title: A", "title: B"))
    assert shell("requirements", "edit", "REQ-1").exit_code == 0
    assert (only(service)["title"], only(service)["revision"], len(only(service)["labels"])) == ("B", 7, 5)


def test_one_that_is_always_overtaken_is_given_up_and_kept(shell: Any, service: Any) -> None:
    made = service.add()
    service.beforehand = [lambda n=n: service.write(made["id"], {"statement": str(n)}) for n in range(20)]
    shell.edits(put("title: A", "title: B"))
    result = shell("requirements", "edit", "REQ-1")
    assert result.exit_code == 5
    assert "title: B" in shell.kept()[-1]
    assert str(shell.folder) in result.stderr


def test_the_same_change_by_another_is_no_conflict(shell: Any, service: Any) -> None:
    made = service.add()
    service.beforehand = [lambda: service.write(made["id"], {"title": "B"})]
    shell.edits(put("title: A", "title: B"))
    result = shell("requirements", "edit", "REQ-1")
    assert result.exit_code == 0
    assert only(service)["revision"] == 2


def test_what_both_changed_comes_back_with_both_versions(shell: Any, service: Any) -> None:
    made = service.add(title="Old", description="one\ntwo\n")
    theirs = {"title": "Theirs", "description": "one\n2\n", "service": "shop"}
    service.beforehand = [lambda: service.write(made["id"], theirs)]
    settle = "text = '\\n'.join(line for line in text.split('\\n') if not line.startswith('# CONFLICT'))\n"
    shell.edits(
        put("title: Old", "title: Mine") + "\n" + put("  two", "  zwei"), settle + put("title: Mine", "title: Both")
    )
    result = shell("requirements", "edit", "REQ-1")
    assert result.exit_code == 0, result.output
    again = shell.shown()[1]
    assert again.startswith("# plumbline: REQ-1 revision 2\n")
    told = "# CONFLICT title: changed on both sides. Below stands yours; settle it, and delete this line.\n"
    assert f"{told}# before:\n#   Old\n# theirs:\n#   Theirs\n# yours:\n#   Mine\ntitle: Mine\n" in again
    assert "# theirs:\n#   one\n#   2\n# yours:\n#   one\n#   zwei\ndescription: |\n  one\n  zwei\n" in again
    after = only(service)
    assert (after["title"], after["description"], after["service"]) == ("Both", "one\nzwei\n", "shop")
    assert shell.kept() == []


def test_a_conflict_that_is_left_writes_nothing_and_keeps_the_text(shell: Any, service: Any) -> None:
    made = service.add(title="Old")
    service.beforehand = [lambda: service.write(made["id"], {"title": "Theirs"})]
    shell.edits(put("title: Old", "title: Mine"))
    result = shell("requirements", "edit", "REQ-1")
    assert result.exit_code == 5
    assert "changed on both sides: title" in result.stderr
    assert only(service)["title"] == "Theirs"
    assert all("title: Mine" in text for text in shell.kept())
    assert len(shell.kept()) == 2


def test_a_conflict_that_is_marked_still_is_not_written(shell: Any, service: Any) -> None:
    made = service.add(title="Old")
    service.beforehand = [lambda: service.write(made["id"], {"title": "Theirs"})]
    shell.edits(put("title: Old", "title: Mine"), put("title: Mine", "title: Both"), "")
    result = shell("requirements", "edit", "REQ-1")
    assert result.exit_code == 5
    assert shell.shown()[2].startswith("#! not settled yet: title")
    assert only(service)["title"] == "Theirs"


def test_the_user_text_survives_when_the_conflict_is_closed_empty(shell: Any, service: Any) -> None:
    made = service.add(title="Old")
    service.beforehand = [lambda: service.write(made["id"], {"title": "Theirs"})]
    shell.edits(put("title: Old", "title: Mine"), "text = ''")
    assert shell("requirements", "edit", "REQ-1").exit_code == 5
    assert all("title: Mine" in text for text in shell.kept())


# --- What is wrong --------------------------------------------------------------------------------------


def test_bad_yaml_comes_back_with_the_error_on_top(shell: Any, service: Any) -> None:
    service.add()
    shell.edits(put("title: A", "title: [B  # mine"), put("title: [B", "titel: B"), put("titel: B", "title: B"))
    result = shell("requirements", "edit", "REQ-1")
    assert result.exit_code == 0, result.output
    first, second, third = shell.shown()
    assert "#!" not in first
    assert second.startswith("#! line ")
    assert ": is not YAML: " in second
    assert third.startswith("#! no such member: titel")
    assert third.count("#! ") == 1
    assert "# mine" in third
    assert only(service)["title"] == "B"


def test_what_the_gateway_finds_malformed_comes_back_with_its_reasons(shell: Any, service: Any) -> None:
    service.add()
    shell.edits(put("priority: should", "priority: nonsense"), put("priority: nonsense", "priority: must"))
    assert shell("requirements", "edit", "REQ-1").exit_code == 0
    assert shell.shown()[1].startswith("#! /priority: must or should\n# plumbline: REQ-1 revision 1\n")
    assert only(service)["priority"] == "must"


@pytest.mark.parametrize(
    ("edit", "said"),
    [("title: [", "not YAML"), ("priority: nonsense", "must or should")],
)
def test_what_stays_wrong_is_kept(shell: Any, service: Any, edit: str, said: str) -> None:
    service.add()
    shell.edits(f"text = {edit!r}")
    result = shell("requirements", "edit", "REQ-1")
    assert result.exit_code == 2
    assert said in result.stderr
    assert [text for text in shell.kept() if edit in text]


@pytest.mark.parametrize(
    ("meanwhile", "code"),
    [("retire", 5), ("delete", 3), ("vanish", 1)],
)
def test_a_refusal_keeps_the_text_and_says_how_to_go_on(shell: Any, service: Any, meanwhile: str, code: int) -> None:
    made = service.add()

    def happen() -> None:
        if meanwhile == "retire":
            service.documents[made["id"]]["status"] = "retired"
        elif meanwhile == "delete":
            del service.documents[made["id"]]
        else:
            raise OSError("the service fails")

    service.beforehand = [happen]
    shell.edits(put("title: A", "title: B"))
    result = shell("requirements", "edit", "REQ-1")
    assert result.exit_code == code
    [text] = shell.kept()
    assert "title: B" in text
    path = result.stderr.split("kept in ")[1].split("\n")[0]
    assert Path(path).read_text() == text
    assert f"plumbline requirements edit REQ-1 --file {path}" in result.stderr


def test_a_kept_text_goes_on_from_the_revision_that_it_was_made_of(shell: Any, service: Any, tmp_path: Path) -> None:
    made = service.add(title="Old")
    shell.edits(put("title: Old", "title: Mine"), "text += '\\n'")
    service.beforehand = [lambda: (_ for _ in ()).throw(OSError("the service fails"))]
    failed = shell("requirements", "edit", "REQ-1")
    assert failed.exit_code == 1
    service.write(made["id"], {"statement": "Theirs."})
    path = failed.stderr.split("--file ")[1].split()[0]
    result = shell("requirements", "edit", "REQ-1", "--file", path, "-o", "json")
    assert result.exit_code == 0, result.output
    after = json.loads(result.stdout)
    assert (after["title"], after["statement"]) == ("Mine", "Theirs.")
    assert shell.kept() == []


def test_a_kept_text_that_is_not_gone_on_with_stays(shell: Any, service: Any) -> None:
    service.add(title="Old")
    shell.edits("text = 'title: ['", "", "text = ''")
    failed = shell("requirements", "edit", "REQ-1")
    path = failed.stderr.split("--file ")[1].split()[0]
    assert shell("requirements", "edit", "REQ-1", "--file", path).exit_code == 0
    assert Path(path).read_text().endswith("title: [")


def test_the_text_of_another_requirement_is_not_taken(shell: Any, service: Any, tmp_path: Path) -> None:
    service.add()
    file = tmp_path / "other.yaml"
    file.write_text("# plumbline: REQ-7 revision 1\ntitle: B\n")
    result = shell("requirements", "edit", "REQ-1", "--file", str(file))
    assert (result.exit_code, "the text is of REQ-7" in result.stderr) == (2, True)


@pytest.mark.parametrize("editor", ["false", "/does/not/exist", "'"])
def test_an_editor_that_fails_writes_nothing_and_leaves_nothing(shell: Any, service: Any, editor: str) -> None:
    service.add()
    result = shell("requirements", "edit", "REQ-1", EDITOR=editor)
    assert result.exit_code == 1
    assert "the editor" in result.stderr
    assert (shell.kept(), only(service)["revision"]) == ([], 1)


def test_an_editor_that_fails_after_the_user_wrote_keeps_the_text(shell: Any, service: Any) -> None:
    service.add()
    shell.edits(
        "path.write_text('title: Mine'); sys.exit(3)".replace(
            "path", "__import__('pathlib').Path(__import__('sys').argv[1])"
        ).replace("sys.exit", "__import__('sys').exit")
    )
    result = shell("requirements", "edit", "REQ-1")
    assert result.exit_code == 1
    assert shell.kept() == ["title: Mine"]


def test_text_that_is_not_utf8_is_kept_as_it_is(shell: Any, service: Any) -> None:
    service.add()
    script = shell.folder / "latin.sh"
    script.write_text("#!/bin/sh\nprintf 'title: \\344' > \"$1\"\n")
    script.chmod(0o755)
    result = shell("requirements", "edit", "REQ-1", EDITOR=str(script))
    assert (result.exit_code, "not UTF-8" in result.stderr) == (2, True)
    [path] = (shell.folder / "state").rglob("*.yaml")
    assert path.read_bytes() == b"title: \xe4"
