"""The client of Prometheus' query API: one range of one query a request."""

import asyncio
import functools
import ssl
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from time import time

import httpx

from plumbline_analysis.pulls.failures import NOT_ASKED, PullFailed, Reason, not_asked
from plumbline_analysis.pulls.rules import Range
from plumbline_analysis.pulls.schemas import PrometheusSpec
from plumbline_analysis.pulls.token_bucket import TokenBucket
from plumbline_analysis.sources import encoding, prometheus_json
from plumbline_analysis.sources.answers import Answer
from plumbline_analysis.sources.batch import Undecodable
from plumbline_analysis.sources.prometheus_json import QueryRefused
from plumbline_analysis.sources.queries import PrometheusQuery
from plumbline_common import offload
from plumbline_common.errors import TooLarge, UnsupportedMedia
from plumbline_common.outgoing import CheckedTransport, Targets
from plumbline_common.secret_store import SecretStore

MAX_STEPS = 10_999
"""Prometheus answers at most 11,000 points a series."""
_CONNECT_SECONDS = 5.0
_INLINE_BYTES = 16 * 1024
_LONGEST_RETRY_AFTER = 3600.0
_DETAIL = 300
_QUERY_FAULTS = ("bad_data", "execution")


class Prometheus:
    """Made for one source of the name `scope`; `answer_limit` is in bytes, packed and unpacked."""

    at_once = 1

    def __init__(
        self, spec: PrometheusSpec, scope: str, targets: Targets, secrets: SecretStore, answer_limit: int
    ) -> None:
        self._spec = spec
        self._scope = scope
        self._targets = targets
        self._secrets = secrets
        self._limit = answer_limit
        self._bucket = TokenBucket(spec.requests_per_second)
        self._http: httpx.AsyncClient | None = None

    def step(self, query: PrometheusQuery) -> int:
        return self._spec.step_seconds

    def steps(self, queries: int) -> int:
        """How many one request can reach over."""
        return MAX_STEPS

    async def take(self, queries: Sequence[PrometheusQuery], pulled: Range) -> Answer:
        """What one query gives on the grid in the range. Raises `PullFailed`."""
        (query,) = queries
        await self._bucket.take()
        step, seconds = self._spec.step_seconds, self._spec.timeout_seconds
        asked = {
            "query": query.query,
            "start": str(pulled.after + step),
            "end": str(pulled.until),
            "step": str(step),
            "timeout": f"{seconds * 1000:.0f}ms",
            # Thanos then fails where a store does not answer, instead of leaving out what that has.
            "partial_response": "false",
        }
        # httpx's own deadlines are for each read: an answer that trickles in would have none.
        try:
            async with asyncio.timeout(seconds):
                status, headers, body = await self._asked(asked)
        except (TimeoutError, httpx.TimeoutException):
            raise PullFailed(Reason.TIMEOUT, f"timed out after {seconds:g} s") from None
        except NOT_ASKED as error:
            raise not_asked(error) from None
        except httpx.HTTPError as error:
            raise PullFailed(Reason.CONNECTION, _connection_fault(error)) from error
        if (failure := _refusal(status, headers, body)) is not None:
            raise failure
        read = functools.partial(self._read, status, headers, body, query, pulled)
        return read() if len(body) <= _INLINE_BYTES else await offload.in_thread(read)

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.aclose()

    async def _asked(self, form: dict[str, str]) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers, and the body as it was sent."""
        headers = {name: await self._secrets.header(secret) for name, secret in self._spec.headers.items()}
        if self._spec.bearer_token is not None:
            headers["Authorization"] = f"Bearer {await self._secrets.header(self._spec.bearer_token)}"
        http = await self._client()
        url = f"{self._spec.url}/api/v1/query_range"
        async with http.stream("POST", url, data=form, headers=headers) as response:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self._limit:
                    raise _too_large(self._limit)
            return response.status_code, response.headers, bytes(body)

    def _read(
        self, status: int, headers: httpx.Headers, body: bytes, query: PrometheusQuery, pulled: Range
    ) -> Answer:
        try:
            plain = encoding.decompress(body, headers.get("content-encoding", ""), self._limit)
            return prometheus_json.decode(plain, query, self._scope, pulled)
        except TooLarge:
            raise _too_large(self._limit) from None
        except QueryRefused as refused:
            if "too many samples" in refused.error:
                raise PullFailed(Reason.TOO_LARGE, f"query: {refused.error}") from None
            if refused.kind in _QUERY_FAULTS:
                raise PullFailed(Reason.QUERY, f"query: {refused.error}") from None
            said = f"{status}: {refused.kind}: {refused.error}"
            raise PullFailed(Reason.STATUS, said, _retry_after(headers), passing=True) from None
        except (Undecodable, UnsupportedMedia) as error:
            raise PullFailed(
                Reason.UNREADABLE, f"no answer of the query API (status {status}): {error.detail}"
            ) from None

    async def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            ca = self._spec.tls_ca and await self._secrets.read(self._spec.tls_ca)
            trusting = await _trusting(self._spec.url, ca)
            transport = CheckedTransport(self._targets, limits=httpx.Limits(), verify=trusting)
            timeout = httpx.Timeout(
                self._spec.timeout_seconds, connect=min(_CONNECT_SECONDS, self._spec.timeout_seconds)
            )
            self._http = httpx.AsyncClient(
                transport=transport,
                timeout=timeout,
                trust_env=False,
                follow_redirects=False,
                headers={"Accept": "application/json", "Accept-Encoding": "gzip"},
            )
        return self._http


async def _trusting(url: str, ca: str | None) -> ssl.SSLContext | bool:
    # To read the usual certificates takes 20 ms.
    try:
        return False if url.startswith("http:") else await offload.in_thread(_context, ca)
    except ssl.SSLError:
        raise PullFailed(Reason.CREDENTIALS, "the secret that tls_ca names holds no certificates (PEM)") from None


@functools.lru_cache(maxsize=32)
def _context(ca: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context() if ca is None else ssl.create_default_context(cadata=ca)


def _connection_fault(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.RemoteProtocolError):
        return f"the answer broke off or is no HTTP: {str(error)[:_DETAIL]}"
    return f"no connection: {str(error)[:_DETAIL] or type(error).__name__}"


def _too_large(limit: int) -> PullFailed:
    return PullFailed(Reason.TOO_LARGE, f"the answer is larger than {limit} bytes")


def _refusal(status: int, headers: httpx.Headers, body: bytes) -> PullFailed | None:
    """What a status or a page says, where it is no answer of the API."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if 300 <= status < 400:
        return PullFailed(Reason.REDIRECT, f"{status}: redirects to {headers.get('location', '?')[:_DETAIL]}")
    if status in (401, 403):
        return PullFailed(Reason.UNAUTHORIZED, f"{status}: the credentials are missing or not accepted")
    if status == 429:
        return PullFailed(Reason.THROTTLED, "429: too many requests", _retry_after(headers))
    if (status >= 500 or status in (408, 425)) and kind != "application/json":
        return PullFailed(Reason.STATUS, f"answered the status {status}", _retry_after(headers), passing=True)
    if kind in ("text/html", "application/xhtml+xml"):
        return PullFailed(Reason.HTML, f"answered HTML (status {status}): a login page, or another program")
    if status >= 400 and kind != "application/json":
        return PullFailed(Reason.STATUS, f"answered the status {status}")
    return None


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds (RFC 9110, section 10.2.3), at most an hour; None where it is not given."""
    given = headers.get("retry-after", "").strip()
    try:
        seconds = float(given) if given.isdigit() else parsedate_to_datetime(given).timestamp() - time()
    except ValueError:
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)
