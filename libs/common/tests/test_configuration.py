from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import SettingsConfigDict

from plumbline_common import configuration
from plumbline_common.settings import Hosts, ServiceSettings


class Endpoint(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    url: str
    """Where it is."""
    attempts: Annotated[int, Field(ge=1)] = 3


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PLUMBLINE_SAMPLE_")

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of all | of it,
    at most."""
    mode: Literal["calm", "quick"] = "calm"
    allowed: Hosts = ()
    endpoint: Endpoint | None = None
    """Asked instead."""
    other: Endpoint | None = None


def test_each_setting_is_told_with_what_it_takes_and_its_default() -> None:
    page = configuration.page({"sample": Settings})
    shared, own = page.split("## sample\n")
    assert "| `PLUMBLINE_NAME_DATABASE_URL` | text, such as `postgresql+asyncpg://" in shared
    assert "| `PLUMBLINE_NAME_STREAM_REPLICAS` | a whole number, 1 to 5 | `1` |" in shared
    assert [line for line in own.splitlines() if "`PLUMBLINE" in line] == [
        r"| `PLUMBLINE_SAMPLE_SHARE` | a number, more than 0, 1 at most | `0.5` | Of all \| of it, at most. |",
        "| `PLUMBLINE_SAMPLE_MODE` | `calm` or `quick` | `calm` |  |",
        "| `PLUMBLINE_SAMPLE_ALLOWED` | a list, as JSON or with commas, such as"
        ' `["*.example.org", "10.0.0.0/8"]` | none |  |',
        "| `PLUMBLINE_SAMPLE_ENDPOINT__…` | the following | none | Asked instead. |",
        "| `PLUMBLINE_SAMPLE_ENDPOINT__URL` | text | **needed** | Where it is. |",
        "| `PLUMBLINE_SAMPLE_ENDPOINT__ATTEMPTS` | a whole number, 1 or more | `3` |  |",
        "| `PLUMBLINE_SAMPLE_OTHER__…` | as `PLUMBLINE_SAMPLE_ENDPOINT__…` | none |  |",
    ]
