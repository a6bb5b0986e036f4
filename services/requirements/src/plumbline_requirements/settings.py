from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from plumbline_common.settings import ServiceSettings


class Settings(ServiceSettings):
    """What the requirements service is told by its environment."""

    model_config = SettingsConfigDict(env_prefix="PLUMBLINE_REQUIREMENTS_")

    stream_limit: Annotated[int, Field(ge=1)] = 500
    """Event streams that one process holds open at once."""
    stream_heartbeat_seconds: Annotated[float, Field(gt=0)] = 15.0
    """The longest silence of a stream."""
    stream_send_timeout_seconds: Annotated[float, Field(gt=0)] = 20.0
    """A client that takes nothing for so long is cut off."""
    stream_tail: Annotated[int, Field(ge=1)] = 5000
    """The latest events that a process keeps for its streams: one that falls further behind is cut off."""
