"""Text to vector by any endpoint that answers as OpenAI's `POST /embeddings` does.

Each request has a deadline, is tried again where that may help, and is not made at all while the endpoint is known to
be away (a circuit breaker, Nygard 2007).
"""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
from circuitbreaker import CircuitBreaker, CircuitBreakerError
from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from plumbline_common import admission
from plumbline_common.errors import Unavailable
from plumbline_search.embedding.embedder import Refused
from plumbline_search.embedding.encoder import Vectors
from plumbline_search.embedding.model_store import SIZES

FAILURES = 5
"""In a row, then nothing is asked for `REST_SECONDS`; a first request after them decides."""
REST_SECONDS = 10.0
_BUSY = (408, 409, 425, 429)


def _indexed(dimensions: int) -> int:
    if dimensions not in SIZES:
        raise ValueError(f"must be one of {', '.join(map(str, SIZES))}: there is an index for each")
    return dimensions


class EndpointSettings(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    url: AnyHttpUrl
    """Up to `/v1`: `/embeddings` is added."""
    model: Annotated[str, Field(min_length=1, max_length=200)]
    """As the endpoint calls it."""
    dimensions: Annotated[int, AfterValidator(_indexed)]
    """Of its vectors."""
    api_key_file: Path | None = None
    """Holds the bearer token."""
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0
    """Of one attempt."""
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Of one request."""
    batch: Annotated[int, Field(ge=1, le=2048)] = 32
    """Texts of one request."""
    requests: Annotated[int, Field(ge=1, le=64)] = 4
    """At the same time."""
    characters: Annotated[int, Field(ge=100)] = 2_000
    """What of a text is sent."""

    @property
    def name(self) -> str:
        """Of the model and its vectors: these are comparable with one another, and with no others."""
        return f"{self.model}:{self.dimensions}"


class EndpointFailed(Unavailable):
    slug = "embedding-failed"
    title = "The embedding endpoint gave no vectors"


class EndpointRefused(Refused, EndpointFailed):
    """It works, but does not take one of the texts."""


class EndpointResting(EndpointFailed):
    slug = "embedding-resting"
    title = "The embedding endpoint has failed again and again and is not asked for some seconds"


class Endpoint:
    """Made by `connected`."""

    def __init__(self, client: httpx.AsyncClient, settings: EndpointSettings) -> None:
        self._client = client
        self._settings = settings
        self._breaker = CircuitBreaker(
            failure_threshold=FAILURES,
            recovery_timeout=REST_SECONDS,
            expected_exception=_is_failure,
            name=settings.name,
        )
        self._guarded = self._breaker.decorate(self._tried)

    async def encode(self, texts: list[str]) -> Vectors:
        """One row a text, of length 1. Raises `EndpointFailed`, and `EndpointRefused` where one is not taken."""
        try:
            vectors: Vectors = await self._guarded(texts)
            return vectors
        except CircuitBreakerError as error:
            raise EndpointResting(f"try again in {math.ceil(self._breaker.open_remaining)} seconds") from error

    async def _tried(self, texts: list[str]) -> Vectors:
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(self._settings.attempts),
            wait=wait_exponential_jitter(multiplier=0.2, max=5, jitter=0.2),
            retry=retry_if_exception_type(_Passing),
            reraise=True,
        ):
            with attempt:
                return await self._asked(texts)
        raise AssertionError("unreachable")

    async def _asked(self, texts: list[str]) -> Vectors:
        admission.leave()
        # httpx's own deadlines are for each read: an answer that trickles in would have none.
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                response = await self._client.post(
                    "embeddings", json={"model": self._settings.model, "input": texts, "encoding_format": "float"}
                )
        except TimeoutError:
            raise _Passing(f"no answer within {self._settings.timeout_seconds:g} seconds") from None
        except httpx.HTTPError as error:
            raise _Passing(f"no answer: {type(error).__name__}") from error
        if response.status_code >= 500 or response.status_code in _BUSY:
            raise _Passing(f"it answered with the status {response.status_code}")
        if response.status_code in (400, 413, 422):
            raise EndpointRefused(f"it answered with the status {response.status_code}")
        if response.status_code != 200:
            raise EndpointFailed(f"it answered with the status {response.status_code}")
        return _vectors(response.content, len(texts), self._settings.dimensions)


class _Passing(EndpointFailed):
    """Another attempt may help."""


def _is_failure(kind: type[BaseException], error: BaseException) -> bool:
    return issubclass(kind, EndpointFailed) and not issubclass(kind, EndpointRefused)


def _vectors(answer: bytes, texts: int, dimensions: int) -> Vectors:
    """Raises `EndpointFailed` with what is wrong about the answer."""
    try:
        found: list[Any] = httpx.Response(200, content=answer).json()["data"]
        rows = [each["embedding"] for each in sorted(found, key=lambda each: each["index"])]
        places = sorted(each["index"] for each in found)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise EndpointFailed("it did not answer with data of embeddings, each with its index") from None
    if places != list(range(texts)):
        raise EndpointFailed(f"it answered {len(rows)} embeddings for {texts} texts")
    if wrong := {len(row) for row in rows if isinstance(row, list)} - {dimensions}:
        raise EndpointFailed(f"it answered {min(wrong)} dimensions, and {dimensions} are configured")
    try:
        vectors = np.array(rows, np.float64)
    except (ValueError, TypeError):
        raise EndpointFailed("it answered embeddings that are no lists of numbers") from None
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True) if vectors.ndim == 2 else np.array([np.nan])
    if not np.all(np.isfinite(lengths)) or not np.all(lengths > 1e-6):
        raise EndpointFailed("it answered embeddings that are not finite, or of length 0")
    scaled: Vectors = (vectors / lengths).astype(np.float32)
    return scaled


@asynccontextmanager
async def connected(settings: EndpointSettings) -> AsyncIterator[Endpoint]:
    """Raises `OSError` where the key cannot be read."""
    headers = {}
    if settings.api_key_file is not None:
        headers["Authorization"] = f"Bearer {settings.api_key_file.read_text().strip()}"
    async with httpx.AsyncClient(
        base_url=f"{str(settings.url).rstrip('/')}/",
        headers=headers,
        timeout=settings.timeout_seconds,
        follow_redirects=False,
        limits=httpx.Limits(max_connections=settings.requests),
    ) as client:
        yield Endpoint(client, settings)
