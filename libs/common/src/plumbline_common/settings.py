"""What every service is told by its environment, under the prefix `PLUMBLINE_<NAME>_`."""

import json
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from plumbline_common.outgoing import check_allowed

Role = Literal["viewer", "editor", "reviewer", "operator", "admin", "ingest"]
DATABASE_URL = "postgresql+asyncpg://role:password@host:5432/plumbline"
"""An example."""


def check_database_url(said: str) -> str:
    """Raises `ValueError`, which does not tell the password."""
    if not said.startswith("postgresql+asyncpg://"):
        raise ValueError("must begin with postgresql+asyncpg://")
    try:
        url = make_url(said)
    except (ArgumentError, ValueError):
        raise ValueError(
            "is no address of a database: a password's @ : / ? # are written as %40 %3A %2F %3F %23"
        ) from None
    if not url.database:
        raise ValueError("must name a database after the host")
    return said


def _nats_url(said: str) -> str:
    parts = urlsplit(said)
    if parts.scheme not in ("nats", "tls", "ws", "wss") or not parts.hostname:
        raise ValueError("must be nats://host:port, or tls://host:port")
    _check_port(said)
    return said


def _jwks_uri(said: str | None) -> str | None:
    if said is None:
        return None
    parts = urlsplit(said)
    if parts.scheme == "file" and parts.path:
        return said
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("must be https://host/path, or file:///path")
    _check_port(said)
    return said


def _check_port(url: str) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValueError("must have a port from 1 to 65535, if any") from None


def _listed(said: Any) -> Any:
    """A list as the environment has it: JSON, or names with commas between them."""
    if not isinstance(said, str):
        return said
    if not said.lstrip().startswith("["):
        return [name.strip() for name in said.split(",") if name.strip()]
    try:
        return json.loads(said)
    except ValueError:
        raise ValueError('is no list: write ["one", "another"], or one,another') from None


DatabaseUrl = Annotated[
    str,
    AfterValidator(check_database_url),
    Field(repr=False, examples=[DATABASE_URL]),
]
Hosts = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(_listed),
    AfterValidator(check_allowed),
    Field(examples=['["*.example.org", "10.0.0.0/8"]']),
]
"""Names (`*.example.org` for all below), addresses and networks."""


class EnvironmentSettings(BaseSettings):
    """Settings of which each, and each member of one, may also lie in a file that `<NAME>_FILE` names, such as a
    secret of a container or a cluster.

    A line break at the end of the file is not part of it.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        if isinstance(env_settings, EnvSettingsSource):
            prefix, fields = env_settings.env_prefix.lower(), set(settings_cls.model_fields)
            env_settings.env_vars = _with_files(env_settings.env_vars, prefix, fields)
        return init_settings, env_settings

    @classmethod
    def from_environment(cls) -> Self:
        """Raises `SystemExit` with a line for each variable that is wrong: what is wrong with it, and an example."""
        try:
            return cls()
        except ValidationError as error:
            faults = [cls._fault(each["loc"], each["type"], each["msg"]) for each in error.errors(include_url=False)]
        except SettingsError as error:
            # A group of settings that was given as one JSON object.
            found = re.search(r'field "(\w+)"', str(error))
            faults = [cls._fault((found[1],) if found else (), "", "is no JSON")]
        except ValueError as error:
            faults = [str(error)]
        raise SystemExit("\n".join(faults))

    @classmethod
    def _fault(cls, place: tuple[int | str, ...], kind: str, message: str) -> str:
        """The value itself is not told: it may be a secret."""
        if not place:
            return f"{cls.variable()}…: {message.removeprefix('Value error, ')}"
        variable = cls.variable(*(str(part) for part in place if isinstance(part, str)))
        said = "is not set" if kind == "missing" else f"is wrong: {message.removeprefix('Value error, ')}"
        # Of a group's member the class of the settings knows none; a list's number is no name.
        example = cls.example(str(place[0])) if place and all(isinstance(each, int) for each in place[1:]) else None
        return f"{variable} {said}" + (f"; for example {variable}={example}" if example else "")

    @classmethod
    def variable(cls, *path: str) -> str:
        """The environment variable of a setting, or of one within it."""
        return f"{cls.model_config['env_prefix']}{'__'.join(path)}".upper()

    @classmethod
    def example(cls, name: str) -> str | None:
        """What a setting may be; its default where it has one."""
        field = cls.model_fields[name]
        if field.examples:
            return str(field.examples[0])
        return None if field.is_required() or field.default is None else str(field.default)


def _with_files(given: Mapping[str, str | None], prefix: str, fields: set[str]) -> dict[str, str | None]:
    """Raises `ValueError` where a file cannot be read, or a setting is given twice."""
    found = dict(given)
    for name, path in given.items():
        plain = name.removesuffix("_file")
        setting = plain.removeprefix(prefix).partition("__")[0]
        if plain == name or not path or not plain.startswith(prefix) or setting not in fields:
            continue
        if given.get(plain):
            raise ValueError(f"{plain.upper()} and {name.upper()} are both set: give one of them")
        try:
            found[plain] = Path(path).read_text().removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{name.upper()} cannot be read: {error}") from None
    return found


class ConnectionSettings(EnvironmentSettings):
    """How databases and brokers are reached, and whom to believe there."""

    database_tls: bool = False
    """Speak to PostgreSQL by TLS alone, with a certificate of the host's name."""
    nats_tls: bool = False
    """The same for NATS, from the first byte on: the server needs `handshake_first` in its block `tls`."""
    tls_ca_file: Path | None = None
    """Authorities that are believed for the database and NATS, and also for the issuer. None: those of the system."""
    tls_certificate_file: Path | None = None
    """Shown to the database and NATS; `tls_key_file` is its private key."""
    tls_key_file: Path | None = None
    """The private key of `tls_certificate_file`."""

    @model_validator(mode="after")
    def _files_belong_together(self) -> Self:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file go together: give both or none")
        try:
            self.context()
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"tls_ca_file, tls_certificate_file or tls_key_file cannot be used: {error}") from None
        return self

    def context(self) -> ssl.SSLContext:
        """For a client of the database or NATS."""
        context = ssl.create_default_context(cafile=self.tls_ca_file)
        if self.tls_certificate_file is not None:
            context.load_cert_chain(self.tls_certificate_file, self.tls_key_file)
        return context

    @property
    def database_context(self) -> ssl.SSLContext | None:
        return self.context() if self.database_tls else None

    @property
    def nats_context(self) -> ssl.SSLContext | None:
        return self.context() if self.nats_tls else None

    @property
    def issuer_context(self) -> ssl.SSLContext:
        """For a client of the issuer, which may be one of the public or one of our own."""
        context = ssl.create_default_context()
        if self.tls_ca_file is not None:
            context.load_verify_locations(self.tls_ca_file)
        return context


_GivenUrl = Annotated[
    str | None, AfterValidator(lambda said: check_database_url(said) if said else None), Field(repr=False)
]


class MigrationSettings(ConnectionSettings):
    """Of a migration: the database as the owner of the schema, or as the service where one role is both."""

    owner_database_url: _GivenUrl = None
    database_url: _GivenUrl = None


class ServiceSettings(ConnectionSettings):
    """A service subclasses this with its own prefix and its own fields. Addresses may hold passwords."""

    environment: Literal["development", "production"] = "production"
    """`deployment.environment.name` of telemetry; in development the event loop is watched."""
    database_url: DatabaseUrl
    """A role and a schema of the service's name."""
    database_pool_size: Annotated[int, Field(ge=1, le=200)] = 10
    """Connections of one worker process."""
    statement_timeout_ms: Annotated[int, Field(ge=1)] = 5_000
    """No statement outlives it."""
    lock_timeout_ms: Annotated[int, Field(ge=1)] = 2_000
    """No wait for a lock outlives it."""
    nats_url: Annotated[
        str, AfterValidator(_nats_url), Field(repr=False, examples=["nats://user:password@host:4222"])
    ]
    """May hold user and password."""
    stream_replicas: Annotated[int, Field(ge=1, le=5)] = 1
    """Copies of each stream in a cluster of NATS."""
    jwt_issuer: str = "plumbline"
    """What tokens must name as `iss`."""
    jwt_audience: str = "plumbline"
    """What tokens must name as `aud`."""
    jwks_uri: Annotated[
        str | None, AfterValidator(_jwks_uri), Field(examples=["https://id.example.org/.well-known/jwks.json"])
    ] = None
    """Where the public keys of the issuer are, where they are not found by OpenID Connect discovery."""
    jwt_roles_claim: Annotated[str, Field(min_length=1)] = "roles"
    """The claim that lists the caller's roles; dots lead into objects: `realm_access.roles`."""
    jwt_teams_claim: Annotated[str, Field(min_length=1)] = "teams"
    """The claim that lists the caller's teams."""
    jwt_role_names: dict[str, Role] | None = None
    """The role that a name of the issuer stands for, as JSON: `{"sre-leads": "admin"}`. Where it is given, other
    names stand for none."""
    body_limit_bytes: Annotated[int, Field(ge=1)] = 1024 * 1024
    """The largest request body."""
    concurrent_requests: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Requests that one worker process works on at once, at most. Others wait in line, for 0.4 s at most, and
    are then refused with 429: `docs/overload.md`."""
    watchdog_threshold_ms: Annotated[int, Field(ge=1)] | None = None
    """Report blocks of the event loop over this. None: 100 ms in development, off in production."""

    @model_validator(mode="after")
    def _issuer_can_be_found(self) -> Self:
        if self.jwks_uri is None and not self.jwt_issuer.startswith(("https://", "http://")):
            raise ValueError(
                f"jwt_issuer is {self.jwt_issuer!r}: give the issuer's URL, such as https://id.example.org/realms/sre,"
                " or jwks_uri, where its keys are"
            )
        return self

    @property
    def watchdog_threshold(self) -> float | None:
        """In seconds; None where the watchdog is off."""
        if self.watchdog_threshold_ms is not None:
            return self.watchdog_threshold_ms / 1000
        return 0.1 if self.environment == "development" else None
