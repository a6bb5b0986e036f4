import io
import os
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from plumbline_cli import local
from plumbline_cli.local import Progress
from plumbline_cli.main import app
from plumbline_stack.state import ChildState, StackState, write_state


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--port", "gatewy=1"], "no such port: gatewy; there are gateway"),
        (["up", "--port", "gateway=x"], "--port gateway=x: needs a name and a number"),
        (["up", "--port", "gateway=70000"], "--port gateway=70000: needs a name and a number"),
        (["demo", "--port", "9000"], "--port 9000: needs a name and a number"),
        (["up", "--nats-sync-interval", "soon"], "a sync interval is a duration such as 200ms"),
        (["demo", "--examples", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_starts(tmp_path: Path, arguments: list[str], said: str) -> None:
    folder = tmp_path / "stack"
    result = CliRunner().invoke(app, [*arguments, "--folder", str(folder)])
    assert result.exit_code == 2
    assert said in result.stderr
    assert not folder.exists()


def test_ports_come_from_the_environment_too(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["up", "--folder", str(tmp_path / "stack")], env={"PLUMBLINE_PORTS": "gateway=9000 nats=zero"}
    )
    assert result.exit_code == 2
    assert "--port nats=zero" in result.stderr


def test_without_a_terminal_each_part_is_a_line_once_it_is_ready() -> None:
    console = Console(file=io.StringIO(), width=80)
    progress = Progress(console)
    for step, state, detail in (
        ("gateway", "note", "port 8080 is taken; it uses 8090"),
        ("gateway", "starting", ""),
        ("gateway", "ready", "1.2 s"),
    ):
        progress(step, state, detail)
    progress.done()
    progress("gateway", "restarting", "exit code 1; again in 0.2 s")
    progress("gateway", "ready", "after 1 restarts")
    assert isinstance(console.file, io.StringIO)
    first, second, up, later = console.file.getvalue().splitlines()
    assert first == "! gateway: note port 8080 is taken; it uses 8090"
    assert second == "✓ gateway: ready 1.2 s"
    assert up.startswith("✓ up: gateway (")
    assert later == "! gateway: restarting exit code 1; again in 0.2 s"


def test_addresses_are_whole_in_a_narrow_terminal(tmp_path: Path) -> None:
    child = ChildState(
        name="analysis-worker", status="running", pid=1234567, url="http://127.0.0.1:18080", port=18080
    )
    started = psutil.Process().create_time()
    state = StackState(os.getpid(), started, "2026-11-01T12:00:00Z", True, {}, {}, (child,))
    (tmp_path / "demo").mkdir()
    write_state(tmp_path / "demo", state)
    console = Console(file=io.StringIO(), width=80)
    local.status(tmp_path, console)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "http://127.0.0.1:18080" in shown
    assert str(tmp_path / "demo") in shown.replace("\n", "").replace(" ", "")
    assert all(len(line) <= 80 for line in shown.splitlines())
