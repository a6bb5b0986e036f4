"""What every service is told by its environment, under the prefix `PLUMBLINE_<NAME>_`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Role = Literal["viewer", "editor", "reviewer", "operator", "admin", "ingest"]


class ServiceSettings(BaseSettings):
    """A service subclasses this with its own prefix and its own fields. Addresses may hold passwords."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

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
