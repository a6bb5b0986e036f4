"""Who is calling: a JWT verified against the issuer's JWKS, and what its roles allow."""

import hashlib
import json
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlparse

import anyio
import httpx
import jwt
from fastapi import Request
from opentelemetry import trace

from plumbline_common.errors import Forbidden, Unauthenticated, Unavailable

log = logging.getLogger(__name__)

ROLES: Final = ("viewer", "editor", "reviewer", "operator", "admin", "ingest")
# The key decides which algorithm may be used with it; the token's own `alg` is never trusted.
_ALGORITHMS = {"EC": "ES256", "RSA": "RS256"}
_LEEWAY_SECONDS = 30
_REFRESH_SECONDS = 300.0
_RETRY_SECONDS = 5.0
_CACHED_TOKENS = 2048
_MAX_TOKEN_BYTES = 8192


@dataclass(frozen=True)
class UserInfo:
    """The caller. `teams` are those whose requirements an editor may change."""

    subject: str
    roles: frozenset[str]
    teams: frozenset[str]
    expires_at: float = field(default=math.inf, compare=False)
    """The token's `exp`, in seconds since 1970: what outlasts a request ends then."""

    def may(self, *roles: str) -> bool:
        """Whether one of `roles` is held. admin may all; editor, reviewer and operator may what viewer may."""
        held = set(self.roles)
        if held & {"editor", "reviewer", "operator"}:
            held.add("viewer")
        return "admin" in held or not held.isdisjoint(roles)


class Authenticator:
    """Verifies tokens: signature, `iss`, `aud`, `exp`, `nbf`, with 30 s of clock skew."""

    def __init__(self, jwks_uri: str, issuer: str, audience: str) -> None:
        self._uri = jwks_uri
        self._issuer = issuer
        self._audience = audience
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._lock = anyio.Lock()
        # Verification costs 0.1 ms; one caller sends the same token many times a second.
        self._verified: OrderedDict[bytes, tuple[float, UserInfo]] = OrderedDict()

    async def user(self, token: str) -> UserInfo:
        """The caller that `token` names. Raises `Unauthenticated` with the reason."""
        if len(token) > _MAX_TOKEN_BYTES:
            raise Unauthenticated("the token is too long")
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        known = self._verified.get(digest)
        if known is not None and known[0] > time.time():
            self._verified.move_to_end(digest)
            return known[1]
        claims = await self._claims(token)
        user = UserInfo(
            subject=str(claims["sub"]),
            roles=frozenset(_names(claims, "roles")),
            teams=frozenset(_names(claims, "teams")),
            expires_at=float(claims["exp"]),
        )
        self._verified[digest] = (min(user.expires_at, time.time() + _REFRESH_SECONDS), user)
        if len(self._verified) > _CACHED_TOKENS:
            self._verified.popitem(last=False)
        return user

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the token is not a JWT: {error}") from None
        key = await self._key(str(header.get("kid", "")))
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHMS[str(key.key_type)]],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the token is not valid: {error}") from None
        return claims

    async def _key(self, kid: str) -> jwt.PyJWK:
        age = time.monotonic() - self._fetched_at
        # An unknown key id may be a new key of the issuer; made-up ids must not make us hammer it.
        if age > _REFRESH_SECONDS or (kid not in self._keys and age > _RETRY_SECONDS):
            await self._refresh(age)
        try:
            return self._keys[kid]
        except KeyError:
            raise Unauthenticated("the token is signed with a key that the issuer does not publish") from None

    async def _refresh(self, age: float) -> None:
        async with self._lock:
            if time.monotonic() - self._fetched_at < age:
                return
            try:
                document = await self._load()
                keys = [jwt.PyJWK(key) for key in document["keys"] if key.get("kty") in _ALGORITHMS]
                self._keys = {str(key.key_id or ""): key for key in keys}
            except (OSError, httpx.HTTPError, ValueError, KeyError, jwt.PyJWTError) as error:
                log.error("the issuer's keys cannot be read from %s: %r", self._uri, error)
                if not self._keys:
                    raise Unavailable("the keys that verify tokens cannot be read now") from error
            self._fetched_at = time.monotonic()

    async def _load(self) -> Any:
        parts = urlparse(self._uri)
        if parts.scheme == "file":
            return json.loads(await anyio.Path(Path(unquote(parts.path))).read_text())
        async with httpx.AsyncClient(timeout=5) as client:
            response = await client.get(self._uri)
            response.raise_for_status()
            return response.json()


def _names(claims: dict[str, Any], claim: str) -> list[str]:
    value = claims.get(claim, [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Unauthenticated(f"the token's {claim} must be a list of strings")
    return value


async def get_current_user(request: Request) -> UserInfo:
    """The caller from `Authorization: Bearer …`. Raises `Unauthenticated`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("send an access token: Authorization: Bearer <token>")
    authenticator: Authenticator = request.app.state.authenticator
    user = await authenticator.user(token.strip())
    trace.get_current_span().set_attribute("enduser.id", user.subject)
    return user


def require(*roles: str) -> Callable[[Request], Awaitable[UserInfo]]:
    """A dependency that passes on the caller who holds one of `roles`, and refuses every other."""
    unknown = set(roles) - set(ROLES)
    if unknown or not roles:
        raise ValueError(f"no such role: {sorted(unknown)}")

    async def allowed(request: Request) -> UserInfo:
        user = await get_current_user(request)
        if not user.may(*roles):
            raise Forbidden(f"this needs the role {' or '.join(roles)}")
        return user

    allowed.plumbline_roles = roles  # type: ignore[attr-defined]
    return allowed


async def public() -> None:
    """The decision that a route is open to everyone."""


public.plumbline_roles = ("public",)  # type: ignore[attr-defined]
