from pathlib import Path

import pytest
from typer.testing import CliRunner

from plumbline_cli.main import app


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
