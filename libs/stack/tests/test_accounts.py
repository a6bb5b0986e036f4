import os
from pathlib import Path

import pytest

from plumbline_stack import accounts
from plumbline_stack.accounts import Account

STRANGER = Account("stranger", uid=54_321, gid=54_321)
OURSELVES = Account("ourselves", uid=os.geteuid(), gid=os.getegid())


def test_a_stranger_does_not_pass_a_closed_folder(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert not STRANGER.can_reach(closed / "data")
    assert OURSELVES.can_reach(closed / "data")


def test_a_stranger_runs_only_what_everyone_may_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Account, "can_reach", lambda self, path: True)
    program = tmp_path / "program"
    program.touch(mode=0o700)
    assert not STRANGER.can_run(program)
    program.chmod(0o755)
    assert STRANGER.can_run(program)


def test_an_ordinary_user_needs_no_other_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert accounts.unprivileged() is None


def test_root_without_any_account_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(accounts, "_look_up", lambda name: None)
    with pytest.raises(accounts.AccountError, match="useradd --system plumbline"):
        accounts.unprivileged(make=False)
