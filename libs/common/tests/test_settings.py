from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_settings import SettingsConfigDict

from plumbline_common.settings import ServiceSettings

DATABASE = "postgresql+asyncpg://shop:secret@db/plumbline"


class Endpoint(BaseModel):
    api_key: str


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PLUMBLINE_SHOP_", env_nested_delimiter="__")

    endpoint: Endpoint | None = None


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Mounted where the variable says that the address of the database lies."""
    mounted = tmp_path / "database-url"
    mounted.write_text(f"{DATABASE}\n")
    monkeypatch.setenv("PLUMBLINE_SHOP_DATABASE_URL_FILE", str(mounted))
    monkeypatch.setenv("PLUMBLINE_SHOP_NATS_URL", "nats://nats")
    monkeypatch.setenv("PLUMBLINE_SHOP_JWKS_URI", "file:///jwks.json")
    return mounted


def test_a_setting_lies_in_a_file_or_in_the_environment() -> None:
    settings = Settings()
    assert (settings.database_url, settings.nats_url) == (DATABASE, "nats://nats")


def test_so_does_a_member_of_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k")
    monkeypatch.setenv("PLUMBLINE_SHOP_ENDPOINT__API_KEY_FILE", str(tmp_path / "key"))
    assert Settings().endpoint == Endpoint(api_key="k")


def test_a_setting_that_is_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMBLINE_SHOP_DATABASE_URL", DATABASE)
    with pytest.raises(ValueError, match="PLUMBLINE_SHOP_DATABASE_URL and PLUMBLINE_SHOP_DATABASE_URL_FILE"):
        Settings()


def test_a_file_that_cannot_be_read_is_named(secret: Path) -> None:
    secret.unlink()
    with pytest.raises(ValueError, match="PLUMBLINE_SHOP_DATABASE_URL_FILE names a file that cannot be read"):
        Settings()
