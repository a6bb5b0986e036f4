"""`plumbline backtest`, on files and on standard input."""

import csv
import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from plumbline_cli.main import app

HEADER = ["timestamp", "value", "score", "lower", "upper", "alarm"]
START = 1_767_268_800


def run(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(app, ["backtest", *arguments], input=text, catch_exceptions=False)


def series(count: int = 1000) -> list[float]:
    noise = random.Random(5)
    return [round(noise.gauss(100, 2), 3) for _ in range(count)]


def content(values: list[Any]) -> str:
    rows = [f"{START + 300 * number},{value}\n" for number, value in enumerate(values)]
    return "timestamp,value\n" + "".join(rows)


@pytest.fixture
def spiked(tmp_path: Path) -> Path:
    """Points every five minutes, with an event at the 800th."""
    values = series()
    values[800:804] = [130, 150, 130, 130]
    file = tmp_path / "points.csv"
    file.write_text(content(values))
    return file


def scored(out: Path) -> list[list[str]]:
    with out.open(encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    assert header == HEADER
    return rows


def test_each_point_is_given_its_score_its_band_and_whether_an_alarm_is_open(spiked: Path) -> None:
    out = spiked.with_name("scores.csv")
    result = run("--csv", str(spiked), "--score-out", str(out))
    assert result.exit_code == 0
    assert "1000 rows, 0 missing, 0 late or doubled" in result.stderr
    rows = scored(out)
    assert [row[0] for row in rows] == [str(START + 300 * number) for number in range(1000)]
    assert all(row[2] == "" for row in rows[:60])
    assert all(row[2] != "" for row in rows[60:])
    assert [row[5] for row in rows[798:805]] == ["0", "0", "1", "1", "1", "1", "1"]
    assert float(rows[801][2]) >= 1
    assert float(rows[801][3]) < 100 < float(rows[801][4]) < 130
    assert {row[5] for row in rows[830:]} == {"0"}


def test_the_alarms_are_told_as_a_table_and_as_json(spiked: Path) -> None:
    table = run("--csv", str(spiked))
    assert "2026-01-04T06:40:00Z" in table.stdout
    assert "▲" in table.stdout
    told = json.loads(run("--csv", str(spiked), "--output", "json").stdout)
    assert (told["rows"], told["missing"], told["late"]) == (1000, 0, 0)
    alarm = max(told["alarms"], key=lambda alarm: float(alarm["peak"]["value"]))
    assert (alarm["onset"], alarm["peak"]["at"]) == ("2026-01-04T06:40:00Z", "2026-01-04T06:45:00Z")
    assert (alarm["direction"], alarm["peak"]["value"]) == ("up", 150)
    assert alarm["end"] >= "2026-01-04T06:55:00Z"
    assert alarm["seen_by"] in ("departure", "level", "variation", "novelty")


def test_missing_late_and_doubled_rows_stay_without_a_score(tmp_path: Path) -> None:
    file, out = tmp_path / "points.csv", tmp_path / "scores.csv"
    lines = content(["" if number == 100 else value for number, value in enumerate(series(200))]).splitlines()
    lines[151:151] = [lines[150], lines[10]]
    file.write_text("\n".join(lines))
    told = json.loads(run("--csv", str(file), "--score-out", str(out), "--output", "json").stdout)
    assert (told["rows"], told["missing"], told["late"]) == (202, 1, 2)
    rows = scored(out)
    assert [row[:2] for row in rows] == [line.split(",") for line in lines[1:]]
    assert [number for number, row in enumerate(rows) if row[2] == ""] == [*range(60), 100, 150, 151]


def test_with_hindsight_discords_and_changes_are_told_too(tmp_path: Path) -> None:
    noise, file = random.Random(5), tmp_path / "points.csv"
    values = [100 + 40 * math.sin(number / 288 * 2 * math.pi) + noise.gauss(0, 2) for number in range(288 * 14)]
    values[1944:2088] = values[1944:2088][::-1]
    values[3000:] = [value + 30 for value in values[3000:]]
    file.write_text(content(values))
    told = json.loads(run("--csv", str(file), "--hindsight", "--output", "json").stdout)["hindsight"]
    assert (told["step_seconds"], told["averaged"], told["window"]) == (300, 1, 288)
    assert [season["period_seconds"] for season in told["seasons"]] == [86_400]
    assert told["discords"][0]["begin"] <= "2026-01-08T12:00:00Z" <= told["discords"][0]["end"]
    [change] = told["changepoints"]
    assert (change["kind"], change["at"][:15]) == ("level", "2026-01-11T22:0")
    assert change["after"] - change["before"] == pytest.approx(30, abs=1)
    table = run("--csv", str(file), "--hindsight")
    assert "season: 1 d" in table.stdout
    assert told["discords"][0]["begin"] in table.stdout
    assert change["at"] in table.stdout
    assert (
        json.loads(run("--csv", str(file), "--hindsight", "--window", "40", "-o", "json").stdout)["hindsight"][
            "window"
        ]
        == 40
    )


def test_standard_input_and_output_are_a_hyphen() -> None:
    result = run("--csv", "-", "--score-out", "-", text=content([1, 2]))
    assert result.exit_code == 0
    assert result.stdout == f"{','.join(HEADER)}\n{START},1,,,,0\n{START + 300},2,,,,0\n"
    assert "2 rows" in result.stderr
    assert "alarms: none" in result.stderr


def test_a_file_without_points_has_no_scores(tmp_path: Path) -> None:
    file, out = tmp_path / "points.csv", tmp_path / "scores.csv"
    file.write_text("timestamp,value\n")
    assert run("--csv", str(file), "--score-out", str(out), "--hindsight").exit_code == 0
    assert scored(out) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timestamp,value\n1,1\n2,x\n", "line 3: value 'x' is no number"),
        ("time,value\n1,1\n", "line 1: the header names no column timestamp"),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_nothing_is_written(tmp_path: Path, text: str, said: str) -> None:
    file, out = tmp_path / "points.csv", tmp_path / "scores.csv"
    file.write_text(text)
    result = run("--csv", str(file), "--score-out", str(out))
    assert result.exit_code == 2
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == [file]


def test_files_that_cannot_be_read_or_written_are_told(tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    missing = run("--csv", str(file))
    assert (missing.exit_code, "No such file" in missing.stderr) == (2, True)
    file.write_text(content([1]))
    unwritten = run("--csv", str(file), "--score-out", str(tmp_path / "none" / "scores.csv"))
    assert (unwritten.exit_code, "No such file" in unwritten.stderr) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--csv", "-", "--score-out", "-", "--output", "json"),
        ("--csv", "-", "--window", "20"),
        ("--csv", "-", "--hindsight", "--window", "7"),
        (),
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert run(*arguments, text="timestamp,value\n").exit_code == 2


def test_the_other_commands_do_not_wait_for_the_engine_to_load() -> None:
    script = "import sys, plumbline_cli.main; print(sorted({'numpy', 'numba'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"
