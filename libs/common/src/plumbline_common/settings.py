"""What every service is told by its environment, under the prefix `PLUMBLINE_<NAME>_`."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


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
    jwks_uri: str
    """`file://…` or `https://…`: where the public keys of the issuer are."""
    jwt_issuer: str = "plumbline"
    jwt_audience: str = "plumbline"
    body_limit_bytes: Annotated[int, Field(ge=1)] = 1024 * 1024
    watchdog_threshold_ms: Annotated[int, Field(ge=1)] | None = None
    """Report blocks of the event loop over this. None: 100 ms in development, off in production."""

    @property
    def watchdog_threshold(self) -> float | None:
        """In seconds; None where the watchdog is off."""
        if self.watchdog_threshold_ms is not None:
            return self.watchdog_threshold_ms / 1000
        return 0.1 if self.environment == "development" else None
