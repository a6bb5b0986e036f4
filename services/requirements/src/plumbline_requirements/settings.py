from pydantic_settings import SettingsConfigDict

from plumbline_common.settings import ServiceSettings


class Settings(ServiceSettings):
    """What the requirements service is told by its environment."""

    model_config = SettingsConfigDict(env_prefix="PLUMBLINE_REQUIREMENTS_")
