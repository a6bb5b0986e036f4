"""What every service is told by its environment, under the prefix `PLUMBLINE_<NAME>_`."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

Role = Literal["viewer", "editor", "reviewer", "operator", "admin", "ingest"]


class EnvironmentSettings(BaseSettings):
    """Settings of which each may also lie in a file that `<NAME>_FILE` names: a secret of a container or a cluster.

    A line break at the end of the file is not part of it.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

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


def _with_files(given: Mapping[str, str | None], prefix: str, fields: set[str]) -> dict[str, str | None]:
    """Raises `ValueError` where a file cannot be read, or a setting is given twice."""
    found = dict(given)
    for name, path in given.items():
        plain = name.removesuffix("_file")
        if plain == name or not path or plain not in {f"{prefix}{field}" for field in fields}:
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


class MigrationSettings(ConnectionSettings):
    """Of a migration: the database as the owner of the schema, or as the service where one role is both."""

    owner_database_url: Annotated[str | None, Field(repr=False, pattern=r"^postgresql\+asyncpg://")] = None
    database_url: Annotated[str | None, Field(repr=False, pattern=r"^postgresql\+asyncpg://")] = None


class ServiceSettings(ConnectionSettings):
    """A service subclasses this with its own prefix and its own fields. Addresses may hold passwords."""

    environment: Literal["development", "production"] = "production"
    database_url: Annotated[str, Field(repr=False, pattern=r"^postgresql\+asyncpg://")]
    database_pool_size: Annotated[int, Field(ge=1, le=200)] = 10
    statement_timeout_ms: Annotated[int, Field(ge=1)] = 5_000
    lock_timeout_ms: Annotated[int, Field(ge=1)] = 2_000
    nats_url: Annotated[str, Field(repr=False)]
    stream_replicas: Annotated[int, Field(ge=1, le=5)] = 1
    jwt_issuer: str = "plumbline"
    jwt_audience: str = "plumbline"
    jwks_uri: Annotated[str, Field(pattern=r"^(file|https?)://")] | None = None
    """Where the public keys of the issuer are, where they are not found by OpenID Connect discovery."""
    jwt_roles_claim: Annotated[str, Field(min_length=1)] = "roles"
    """The claim that lists the caller's roles; dots lead into objects: `realm_access.roles`."""
    jwt_teams_claim: Annotated[str, Field(min_length=1)] = "teams"
    jwt_role_names: dict[str, Role] | None = None
    """The role that a name of the issuer stands for, as JSON: `{"sre-leads": "admin"}`. Where it is given, other
    names stand for none."""
    body_limit_bytes: Annotated[int, Field(ge=1)] = 1024 * 1024
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
