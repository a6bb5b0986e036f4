"""The public keys of who issues tokens: found by OpenID Connect discovery, kept up to date in the background."""

import asyncio
import json
import logging
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import anyio
import httpx
import jwt

from plumbline_common.errors import Unauthenticated, Unavailable

log = logging.getLogger(__name__)

REFRESH_SECONDS = 300.0
RETRY_SECONDS = 5.0
"""Between two requests for keys that are not known, whoever asks: made-up names must not make us hammer it."""
_LONGEST_RETRY_SECONDS = 60.0
_TIMEOUT_SECONDS = 5.0
_ALGORITHMS = frozenset(
    ("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA", "Ed25519")
)


class IssuerKeys:
    """By their `kid`, from `jwks_uri` (`file://…` or `https://…`) or, where that is None, from where the issuer's own
    description says.

    While the issuer does not answer the keys that are known go on: only it can say that one is gone.
    """

    def __init__(self, issuer: str, jwks_uri: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.issuer = issuer
        self.version = 0
        """Another one means that the keys are others."""
        self._uri = jwks_uri
        self._tls = tls
        self._keys: dict[str, jwt.PyJWK] = {}
        self._tried_at = float("-inf")
        self._reason = "not asked yet"
        self._lock = anyio.Lock()

    async def key(self, kid: str) -> jwt.PyJWK:
        """One that is not known may be new: it is asked for, at most every `RETRY_SECONDS`.

        Raises `Unauthenticated` where the issuer has no such key, `Unavailable` where it was never reached.
        """
        if kid not in self._keys and time.monotonic() - self._tried_at > RETRY_SECONDS:
            await self._refresh()
        try:
            return self._keys[kid]
        except KeyError:
            if not self._keys:
                raise Unavailable("the keys that verify tokens cannot be read now") from None
            raise Unauthenticated("the token is signed with a key that the issuer does not publish") from None

    async def run(self) -> None:
        """Keep the keys up to date, for ever."""
        wait = RETRY_SECONDS
        while True:
            if await self._refresh():
                wait = RETRY_SECONDS
                await asyncio.sleep(REFRESH_SECONDS)
            else:
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_RETRY_SECONDS)

    async def check(self) -> None:
        """Raises until there are keys: no request can be answered before."""
        if not self._keys:
            raise RuntimeError(f"the keys of the issuer {self.issuer} cannot be read: {self._reason}")

    async def _refresh(self) -> bool:
        asked_at = self._tried_at
        async with self._lock:
            if self._tried_at != asked_at:
                return not self._reason  # somebody else did while we waited
            try:
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    keys = _usable(await self._load())
            except (OSError, TimeoutError, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                self._reason = str(error) or type(error).__name__
                log.error("the keys of the issuer %s cannot be read: %s", self.issuer, self._reason)
                return False
            finally:
                self._tried_at = time.monotonic()
            self._reason = ""
            if {kid: key.key for kid, key in keys.items()} != {kid: key.key for kid, key in self._keys.items()}:
                log.info("keys of the issuer %s: %s", self.issuer, ", ".join(keys))
                self._keys = keys
                self.version += 1
            return True

    async def _load(self) -> Any:
        if self._uri is not None and (parts := urlparse(self._uri)).scheme == "file":
            return json.loads(await anyio.Path(Path(unquote(parts.path))).read_text())
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, verify=self._tls or True) as client:
            return await _json(client, self._uri or await self._discovered(client))

    async def _discovered(self, client: httpx.AsyncClient) -> str:
        described = await _json(client, f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        found = described if isinstance(described, dict) else {}
        # Section 4.3: or one who answers in its place could name keys of its own.
        if found.get("issuer") != self.issuer:
            raise ValueError(f"its description is of {found.get('issuer')!r}")
        uri = found.get("jwks_uri")
        allowed = ("https://",) if self.issuer.startswith("https://") else ("https://", "http://")
        if not isinstance(uri, str) or not uri.startswith(allowed):
            raise ValueError(f"its description names no address of its keys: {uri!r}")
        return uri


async def _json(client: httpx.AsyncClient, uri: str) -> Any:
    response = await client.get(uri)
    response.raise_for_status()
    return response.json()


def _usable(document: Any) -> dict[str, jwt.PyJWK]:
    """Those that signatures may be verified with; issuers also publish keys to encrypt by, and newer kinds."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("it is no set of keys (RFC 7517)")
    usable = {}
    for given in listed:
        if not isinstance(given, dict) or given.get("use", "sig") != "sig" or given.get("kty") == "oct":
            continue
        try:
            key = jwt.PyJWK(given)
        except jwt.PyJWTError as error:
            log.debug("a key of the issuer is left out: %r", error)
            continue
        # The key decides which algorithm may be used with it; the token's own `alg` is never trusted.
        if key.algorithm_name in _ALGORITHMS:
            usable[str(key.key_id or "")] = key
    if not usable:
        raise ValueError("it has no key that tokens may be signed with")
    return usable
