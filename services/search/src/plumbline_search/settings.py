from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from plumbline_common.settings import ServiceSettings
from plumbline_search.embedding import model_store
from plumbline_search.embedding.endpoint import EndpointSettings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PLUMBLINE_SEARCH_", env_nested_delimiter="__")

    model_cache: Path = Field(default_factory=model_store.default_cache, examples=["~/.cache/plumbline"])
    """Where the encoder is kept after the first start built it: 56 MB."""
    embedding_processes: Annotated[int, Field(ge=1, le=64)] = 2
    """For each worker of the server. One embeds about 80 texts of 60 tokens a second, and takes 200 MB. Of several,
    one is for queries alone: they wait for no document."""
    embedding_batch: Annotated[int, Field(ge=1, le=32)] = 4
    """How many documents a query may have to wait for, where there is one process."""
    embedding_waiting: Annotated[int, Field(ge=1)] = 256
    """With more queries waiting than this the service answers 503."""
    embedding_remembered: Annotated[int, Field(ge=0)] = 4096
    """Vectors of the latest texts that are kept in memory, 1.5 KB each."""
    vectors_in_memory_mb: Annotated[int, Field(ge=8)] = 1024
    """Of each worker, at most: 100,000 passages of 384 dimensions take 45 MB. Where they do not fit, searches ask
    pgvector's index instead, which is slower."""
    embedding_endpoint: EndpointSettings | None = None
    """Embeds instead of the processes."""
    previous_embedding_endpoint: EndpointSettings | None = None
    """What was configured before: queries are embedded by it until the index of the new model is built."""
    indexing_concurrency: Annotated[int, Field(ge=1, le=256)] = 16
    """How many events of one producer are indexed at the same time."""
