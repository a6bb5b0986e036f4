"""What every service is told by its environment, under the prefix `PLUMBLINE_<NAME>_`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

_FILE = "_FILE"


def environment() -> dict[str, str]:
    """What the variables `PLUMBLINE_*` say. `<NAME>_FILE` names a file that holds what `<NAME>` would, such as a
    mounted secret.

    Raises `ValueError` where both are set, or a file cannot be read.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith("PLUMBLINE_")}
    for variable in [name for name in given if name.endswith(_FILE)]:
        name = variable.removesuffix(_FILE)
        if name in given:
            raise ValueError(f"{name} and {variable} are both set: which of them counts?")
        try:
            given[name] = Path(given.pop(variable)).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{variable} names a file that cannot be read: {error}") from None
    return given


class _Environment(EnvSettingsSource):
    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in environment().items()}


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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Environment(settings_cls)

    @property
    def watchdog_threshold(self) -> float | None:
        """In seconds; None where the watchdog is off."""
        if self.watchdog_threshold_ms is not None:
            return self.watchdog_threshold_ms / 1000
        return 0.1 if self.environment == "development" else None
