"""`plumbline logs mine`, on files and on standard input, and `plumbline logs templates`."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from plumbline_cli import logs
from plumbline_cli.main import app


def run(*arguments: str, text: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["logs", "mine", *arguments], input=text, catch_exceptions=False)


def mined(tmp_path: Path, content: str | bytes) -> list[tuple[int, int, str]]:
    file, out = tmp_path / "app.log", tmp_path / "mined.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    assert run(str(file), "--out", str(out)).exit_code == 0
    with out.open(encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    assert header == ["line", "template_id", "template"]
    return [(int(number), int(id), template) for number, id, template in rows]


def test_each_line_is_given_its_template(tmp_path: Path) -> None:
    rows = mined(tmp_path, "cart 7 paid\ndoor opened, twice\n\ncart 8 paid")
    assert rows == [
        (1, 1, "cart <*> paid"),
        (2, 2, "door opened, twice"),
        (3, 3, "(empty)"),
        (4, 1, "cart <*> paid"),
    ]


def test_earlier_lines_have_the_template_that_later_ones_made(tmp_path: Path) -> None:
    rows = mined(tmp_path, "".join(f"tea of {name} is cold\n" for name in ("ada", "bob", "cleo", "dan")))
    assert {row[1:] for row in rows} == {(1, "tea of <*> is cold")}


@pytest.mark.parametrize("name", logs.MESSAGES)
def test_of_json_lines_the_message_is_mined(tmp_path: Path, name: str) -> None:
    lines = [json.dumps({"level": "info", name: f"cart {number} paid"}) for number in (7, 8)]
    assert [row[2] for row in mined(tmp_path, "\n".join(lines))] == ["cart <*> paid"] * 2


def test_otlp_bodies_are_read_and_other_json_is_a_plain_line(tmp_path: Path) -> None:
    rows = mined(tmp_path, '{"body": {"stringValue": "cart 7 paid"}}\n{"level": "info"}\n{broken\n')
    assert [row[2] for row in rows] == ["cart <*> paid", '{"level": "info"}', "{broken"]


def test_any_bytes_and_long_lines_are_mined(tmp_path: Path) -> None:
    rows = mined(tmp_path, b"\xff\xfe\x00 a\r\n" + b"x" * (logs.LONGEST_LINE + 9) + b"\nlast\n")
    assert [row[2] for row in rows][::2] == ["\ufffd\ufffd a", "last"]
    assert len(rows) == 3


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert mined(tmp_path, "") == []


def test_standard_input_and_output_are_a_hyphen() -> None:
    result = run("-", "--out", "-", text="cart 7 paid\n")
    assert result.stdout == "line,template_id,template\n1,1,cart <*> paid\n"
    assert "1 line, 1 template" in result.stderr


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    out = tmp_path / "mined.csv"
    result = run(str(tmp_path / "none.log"), "--out", str(out))
    assert result.exit_code == 2
    assert "No such file" in result.stderr
    assert not out.exists()


def test_where_nothing_can_be_written_it_is_told(tmp_path: Path) -> None:
    file = tmp_path / "app.log"
    file.write_text("cart 7 paid\n")
    for out, reason in ((tmp_path / "none" / "mined.csv", "no such folder"), (tmp_path, "Is a directory")):
        result = run(str(file), "--out", str(out))
        assert result.exit_code == 2
        assert reason in result.stderr.replace("\n", "")
    assert run(str(file), "--out", "/dev/null").exit_code == 0
    assert Path("/dev/null").is_char_device()


def test_the_logs_of_the_stack_are_still_shown(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "search.log").write_text("ready\n")
    for arguments in (["logs"], ["logs", "search"], ["logs", "show", "search"], ["logs", "-n", "3"]):
        result = CliRunner().invoke(app, [*arguments, "--folder", str(tmp_path)])
        assert "ready" in result.output, result.output


def template(service: str, text: str, count: int) -> dict[str, Any]:
    return {"service": service, "template": text, "count": count, "last_seen": "2026-05-01T10:00:00.123456Z"}


def test_the_templates_of_services_are_listed(shell: Any, service: Any) -> None:
    service.templates = [template("shop", "cart <*> paid\x1b[31m", 12345), template("mail", "sent", 1)]
    shown = shell("logs", "templates", "--service", "shop", "--sort", "-count")
    assert shown.exit_code == 0
    head, row, total = shown.output.splitlines()
    assert head.split() == ["lines", "last", "seen", "service", "template"]
    assert row.split()[:3] == ["12,345", "2026-05-01T10:00:00Z", "shop"]
    assert "cart <*> paid" in row
    assert "\x1b" not in row
    assert total.strip() == "1 of 1"
    assert service.asked[-1][2]["sort"] == "-count"


def test_all_templates_are_given_as_json(shell: Any, service: Any) -> None:
    service.templates = [template("shop", f"line {number}", number) for number in range(120)]
    told = shell("logs", "templates", "line", "--all", "-o", "json")
    assert len(json.loads(told.stdout)["items"]) == 120
    assert {asked[2]["q"] for asked in service.asked} == {"line"}
