"""Who is calling: a JWT verified against the issuer's keys, and what its roles allow."""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args

import jwt
from fastapi import Request
from opentelemetry import trace

from plumbline_common.errors import Forbidden, Unauthenticated
from plumbline_common.issuer import IssuerKeys
from plumbline_common.settings import Role

ROLES: Final[tuple[str, ...]] = get_args(Role)
_LEEWAY_SECONDS = 30
_CACHED_SECONDS = 300.0
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


@dataclass(frozen=True)
class Claims:
    """Where a token says what its bearer may do. A name with dots is a path (`realm_access.roles`), unless a claim
    has just that name. With `role_names` only the issuer's names that stand there count, as what they stand for.
    """

    roles: str = "roles"
    teams: str = "teams"
    role_names: Mapping[str, Role] | None = None

    def user(self, claims: Mapping[str, Any]) -> UserInfo:
        """Raises `Unauthenticated` where a claim is of another kind."""
        roles = _names(claims, self.roles)
        if self.role_names is not None:
            roles = [self.role_names[name] for name in roles if name in self.role_names]
        return UserInfo(
            subject=str(claims["sub"]),
            roles=frozenset(roles),
            teams=frozenset(_names(claims, self.teams)),
            expires_at=float(claims["exp"]),
        )


class Authenticator:
    """Verifies tokens: signature, `iss`, `aud`, `exp`, `nbf`, with 30 s of clock skew."""

    def __init__(self, keys: IssuerKeys, audience: str, claims: Claims | None = None) -> None:
        self.keys = keys
        self._audience = audience
        self._mapping = claims or Claims()
        # Verification costs 0.1 ms; one caller sends the same token many times a second.
        self._verified: OrderedDict[bytes, tuple[float, UserInfo]] = OrderedDict()
        self._verified_by = keys.version

    async def user(self, token: str) -> UserInfo:
        """The caller that `token` names. Raises `Unauthenticated` with the reason."""
        if len(token) > _MAX_TOKEN_BYTES:
            raise Unauthenticated("the token is too long")
        if self._verified_by != self.keys.version:
            self._verified.clear()  # a key may be gone
            self._verified_by = self.keys.version
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        known = self._verified.get(digest)
        if known is not None and known[0] > time.time():
            self._verified.move_to_end(digest)
            return known[1]
        user = self._mapping.user(await self._claims(token))
        self._verified[digest] = (min(user.expires_at, time.time() + _CACHED_SECONDS), user)
        if len(self._verified) > _CACHED_TOKENS:
            self._verified.popitem(last=False)
        return user

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the token is not a JWT: {error}") from None
        key = await self.keys.key(str(header.get("kid", "")))
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._audience,
                issuer=self.keys.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the token is not valid: {error}") from None
        return claims


def _names(claims: Mapping[str, Any], path: str) -> list[str]:
    value: Any = claims.get(path)
    if value is None:
        value = claims
        for member in path.split("."):
            value = value.get(member, []) if isinstance(value, dict) else value
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Unauthenticated(f"the token's {path} must be a list of strings")
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
