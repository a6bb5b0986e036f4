from pathlib import Path

import pytest

from plumbline_common.secret_store import NoSecret, SecretStore

PREFIX = "PLUMBLINE_TEST_SECRET_"


async def test_a_secret_is_a_file_or_a_variable_and_is_read_anew_each_time(tmp_path: Path) -> None:
    (tmp_path / "chat-token").write_text("first\n")
    store = SecretStore(tmp_path, PREFIX, {"PLUMBLINE_TEST_SECRET_PAGER_KEY": "second", "HOME": "/root"})
    assert await store.read("chat-token") == "first"
    assert await store.read("pager.key") == "second"
    (tmp_path / "chat-token").write_text("rotated")
    assert await store.read("chat-token") == "rotated"


async def test_nothing_else_can_be_named(tmp_path: Path) -> None:
    with pytest.raises(NoSecret, match="no file home in the secrets' folder and no PLUMBLINE_TEST_SECRET_HOME"):
        await SecretStore(tmp_path, PREFIX, {"HOME": "/root"}).read("home")
    with pytest.raises(NoSecret, match="holds more than one line"):
        await SecretStore(None, PREFIX, {"PLUMBLINE_TEST_SECRET_A": "x\ny"}).header("a")
