from pathlib import Path

import pytest
import trustme
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from plumbline_common.settings import ServiceSettings

URL = "postgresql+asyncpg://shop:secret@localhost/plumbline"


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PLUMBLINE_SHOP_")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMBLINE_SHOP_NATS_URL", "nats://localhost")
    monkeypatch.setenv("PLUMBLINE_SHOP_JWT_ISSUER", "https://id.example")


def test_a_setting_may_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text(f"{URL}\n")
    monkeypatch.setenv("PLUMBLINE_SHOP_DATABASE_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("PLUMBLINE_SHOP_SECRET_KEY_FILE", "is no setting")
    assert Settings().database_url == URL


def test_a_file_that_is_not_there_and_a_setting_that_is_given_twice_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUMBLINE_SHOP_DATABASE_URL_FILE", str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"PLUMBLINE_SHOP_DATABASE_URL_FILE cannot be read: .*No such file"):
        Settings()
    monkeypatch.setenv("PLUMBLINE_SHOP_DATABASE_URL", URL)
    with pytest.raises(ValueError, match="DATABASE_URL and PLUMBLINE_SHOP_DATABASE_URL_FILE are both set"):
        Settings()


def test_certificates_that_cannot_be_used_are_refused_at_the_start(tmp_path: Path) -> None:
    mine = trustme.CA().issue_cert("shop.example")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    (tmp_path / "empty.pem").touch()
    for given, reason in (
        ({"tls_ca_file": tmp_path / "none.pem"}, "No such file"),
        ({"tls_ca_file": tmp_path / "empty.pem"}, "cannot be used"),
        ({"tls_certificate_file": tmp_path / "certificate.pem"}, "go together"),
    ):
        with pytest.raises(ValidationError, match=reason):
            Settings(database_url=URL, **given)
