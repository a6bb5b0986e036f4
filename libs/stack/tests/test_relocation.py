from pathlib import Path

import pytest

from plumbline_stack import relocation
from plumbline_stack.accounts import Account
from plumbline_stack.postgres import program

STRANGER = Account("stranger", uid=54_321, gid=54_321)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files move to; owning is left out, which only root may."""
    folder = tmp_path / "outside"
    monkeypatch.setattr(relocation, "OUTSIDE", folder)
    monkeypatch.setattr(Account, "own", lambda self, path: None)
    return folder


def test_data_behind_a_closed_door_moves_out(tmp_path: Path, outside: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    data = relocation.reachable_folder(closed / "postgres", STRANGER)
    assert data == closed / "postgres"
    assert data.resolve().parent == outside
    (data / "PG_VERSION").write_text("18")
    assert (relocation.reachable_folder(closed / "postgres", STRANGER) / "PG_VERSION").exists()


def test_data_of_a_deleted_state_folder_does_not_come_back(tmp_path: Path, outside: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    data = relocation.reachable_folder(closed / "postgres", STRANGER)
    (data / "PG_VERSION").write_text("18")
    data.unlink()
    assert list(relocation.reachable_folder(closed / "postgres", STRANGER).iterdir()) == []


def test_reachable_data_stays(tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Account, "can_reach", lambda self, path: True)
    data = relocation.reachable_folder(tmp_path / "postgres", STRANGER)
    assert data.is_dir()
    assert not data.is_symlink()
    assert not outside.exists()


def test_programs_behind_a_closed_door_are_copied_and_still_run(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Account, "can_run", lambda self, path: False)
    copy = relocation.reachable_binaries(program().parent, STRANGER)
    assert outside in copy.parents
    assert (copy / "postgres").stat().st_mode & 0o005 == 0o005
    assert (copy.parent / "share" / "extension" / "vector.control").stat().st_mode & 0o004
    assert relocation.reachable_binaries(program().parent, STRANGER) == copy
