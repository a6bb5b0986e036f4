from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from pydantic import BaseModel
from pydantic_settings import SettingsConfigDict

from plumbline_common import migrate
from plumbline_common.settings import DATABASE_URL, Hosts, ServiceSettings

PREFIX = "PLUMBLINE_TEST_"
RIGHT = {
    "DATABASE_URL": "postgresql+asyncpg://role:p%40ss@127.0.0.1:5432/plumbline",
    "NATS_URL": "nats://user:password@127.0.0.1:4222",
    "JWKS_URI": "file:///jwks.json",
}


class Endpoint(BaseModel):
    api_key: str


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__")

    allowed: Hosts = ()
    endpoint: Endpoint | None = None


Read = Callable[..., Settings]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """The settings of an environment; a variable that is None is not set."""

    def read(**variables: str | None) -> Settings:
        for name, value in (RIGHT | variables).items():
            if value is not None:
                monkeypatch.setenv(PREFIX + name, value)
            else:
                monkeypatch.delenv(PREFIX + name, raising=False)
        return Settings.from_environment()

    return read


def test_what_is_right_is_read(read: Read) -> None:
    settings = read(DATABASE_POOL_SIZE="7", ALLOWED='["*.example.org", "10.0.0.0/8"]')
    assert (settings.database_pool_size, settings.allowed) == (7, ("*.example.org", "10.0.0.0/8"))
    assert read(ALLOWED=" prometheus, ::1 ,").allowed == ("prometheus", "::1")
    assert read(ALLOWED="").allowed == ()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_URL", None, f"is not set; for example {PREFIX}DATABASE_URL={DATABASE_URL}"),
        (
            "DATABASE_URL",
            "",
            f"must begin with postgresql+asyncpg://; for example {PREFIX}DATABASE_URL={DATABASE_URL}",
        ),
        ("DATABASE_URL", "postgresql://role:secret@host/plumbline", "must begin with postgresql+asyncpg://"),
        ("DATABASE_URL", "postgresql+asyncpg://role:sec/ret@host:x/plumbline", "is no address of a database"),
        ("DATABASE_URL", "postgresql+asyncpg://role:secret@host", "must name a database"),
        ("NATS_URL", None, "is not set; for example"),
        ("NATS_URL", "127.0.0.1:4222", "must be nats://host:port"),
        ("NATS_URL", "nats://user:secret@host:99999", "must have a port from 1 to 65535"),
        ("JWKS_URI", "/etc/jwks.json", "must be https://host/path, or file:///path"),
        ("JWKS_URI", "https://id.example.org:x/jwks", "must have a port"),
        ("DATABASE_POOL_SIZE", "many", f"for example {PREFIX}DATABASE_POOL_SIZE=10"),
        ("DATABASE_POOL_SIZE", "0", "greater than or equal to 1"),
        ("ENVIRONMENT", "prod", "'development' or 'production'"),
        ("ALLOWED", '["one"', 'is no list: write ["one", "another"], or one,another'),
        ("ALLOWED", "300.0.0.0/8", "'300.0.0.0/8' is no name such as *.example.org"),
        ("ALLOWED", "10.0.0.0/33", "is no name"),
        ("ALLOWED", "https://example.org", "is no name"),
        ("ALLOWED", "[1]", "valid string"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_variable_the_reason_and_an_example(
    read: Read, name: str, value: str | None, said: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        read(**{name: value})
    (line,) = str(stopped.value).splitlines()
    assert line.startswith(f"{PREFIX}{name} is ")
    assert said in line
    assert f"; for example {PREFIX}{name}=" in line
    assert "secret" not in line


def test_each_variable_that_is_wrong_has_its_line(read: Read) -> None:
    with pytest.raises(SystemExit) as stopped:
        read(NATS_URL=None, DATABASE_POOL_SIZE="many", ALLOWED="[")
    names = [line.split()[0].removeprefix(PREFIX) for line in str(stopped.value).splitlines()]
    assert sorted(names) == ["ALLOWED", "DATABASE_POOL_SIZE", "NATS_URL"]


@pytest.mark.parametrize("name", ["OWNER_DATABASE_URL", "DATABASE_URL"])
def test_a_migration_says_so_too(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    variables = [f"PLUMBLINE_SEARCH_{each}" for each in ("OWNER_DATABASE_URL", "DATABASE_URL")]
    for variable in variables:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("sys.argv", ["migrate", "plumbline_search"])
    example = "postgresql+asyncpg://search_owner:password@host:5432/plumbline"
    with pytest.raises(SystemExit) as stopped:
        migrate.main()
    assert str(stopped.value) == f"{variables[0]} is not set; for example {variables[0]}={example}"
    monkeypatch.setenv(f"PLUMBLINE_SEARCH_{name}", "postgresql://role:secret@host/plumbline")
    with pytest.raises(SystemExit) as stopped:
        migrate.main()
    assert str(stopped.value).startswith(f"PLUMBLINE_SEARCH_{name} is wrong: must begin with postgresql+asyncpg://")
    assert "secret" not in str(stopped.value)


def test_a_setting_and_a_member_of_one_may_lie_in_files(read: Read, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"{RIGHT['DATABASE_URL']}\n")
    (tmp_path / "key").write_text("k")
    settings = read(
        DATABASE_URL=None,
        DATABASE_URL_FILE=str(tmp_path / "url"),
        ENDPOINT__API_KEY_FILE=str(tmp_path / "key"),
        SECRET_KEY_FILE="is no setting",
    )
    assert settings.database_url == RIGHT["DATABASE_URL"]
    assert settings.endpoint == Endpoint(api_key="k")


def test_a_file_that_is_not_there_and_a_setting_that_is_given_twice_are_told(read: Read, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=rf"{PREFIX}DATABASE_URL_FILE cannot be read: .*No such file"):
        read(DATABASE_URL=None, DATABASE_URL_FILE=str(tmp_path / "none"))
    with pytest.raises(SystemExit, match=f"{PREFIX}DATABASE_URL and {PREFIX}DATABASE_URL_FILE are both set"):
        read(DATABASE_URL_FILE=str(tmp_path / "none"))


def test_certificates_that_cannot_be_used_are_refused_at_the_start(read: Read, tmp_path: Path) -> None:
    mine = trustme.CA().issue_cert("shop.example")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    (tmp_path / "empty.pem").touch()
    for name, file, reason in (
        ("TLS_CA_FILE", "none.pem", "No such file"),
        ("TLS_CA_FILE", "empty.pem", "cannot be used"),
        ("TLS_CERTIFICATE_FILE", "certificate.pem", "go together"),
    ):
        with pytest.raises(SystemExit, match=reason):
            read(**{"TLS_CA_FILE": None, "TLS_CERTIFICATE_FILE": None, name: str(tmp_path / file)})


def test_keys_that_nobody_could_find_are_told(read: Read) -> None:
    with pytest.raises(SystemExit, match="jwt_issuer is 'plumbline': give the issuer's URL"):
        read(JWKS_URI=None)
