"""A service account: a client of an OpenID Connect issuer, with tokens by its own credentials (RFC 6749, 4.4)."""

import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

_MARGIN_SECONDS = 30.0
"""A token is replaced so long before its end."""
_TIMEOUT_SECONDS = 15.0


class NoToken(Exception):
    """The issuer gave none; the message says why."""


@dataclass(frozen=True)
class ServiceAccount:
    """`scope` and `audience` are for issuers that want them."""

    issuer: str
    client_id: str
    client_secret: str
    scope: str = ""
    audience: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "ServiceAccount | None":
        """As PLUMBLINE_ISSUER and PLUMBLINE_CLIENT_… name it; None where they do not.

        Raises `NoToken` where a part is missing.
        """
        if not (issuer := environment.get("PLUMBLINE_ISSUER")):
            return None
        secret = environment.get("PLUMBLINE_CLIENT_SECRET", "")
        try:
            if file := environment.get("PLUMBLINE_CLIENT_SECRET_FILE"):
                secret = Path(file).read_text().strip()
        except OSError as error:
            raise NoToken(f"PLUMBLINE_CLIENT_SECRET_FILE cannot be read: {error}") from None
        client = environment.get("PLUMBLINE_CLIENT_ID", "")
        if not client or not secret:
            raise NoToken("PLUMBLINE_ISSUER needs PLUMBLINE_CLIENT_ID and PLUMBLINE_CLIENT_SECRET (or …_SECRET_FILE)")
        return cls(
            issuer, client, secret, environment.get("PLUMBLINE_SCOPE", ""), environment.get("PLUMBLINE_AUDIENCE", "")
        )


class ClientCredentials(httpx.Auth):
    """Puts the account's token on each request; gets one when there is none, or it ends soon. Raises `NoToken`."""

    def __init__(self, account: ServiceAccount) -> None:
        self._account = account
        self._token = ""
        self._until = 0.0

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {await self.token()}"
        yield request

    async def token(self) -> str:
        if time.monotonic() >= self._until:
            given = await self._given()
            try:
                self._token = str(given["access_token"])
                self._until = time.monotonic() + float(given.get("expires_in", 0)) - _MARGIN_SECONDS
            except (KeyError, TypeError, ValueError):
                raise NoToken(f"the issuer {self._account.issuer} answers without a token") from None
        return self._token

    async def _given(self) -> dict[str, Any]:
        account = self._account
        form = {"grant_type": "client_credentials", "scope": account.scope, "audience": account.audience}
        # Section 2.3.1: each is form-encoded before it is put together.
        basic = httpx.BasicAuth(quote(account.client_id, safe=""), quote(account.client_secret, safe=""))
        described = f"{account.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS) as client:
                endpoint = str(_body(await client.get(described)).get("token_endpoint"))
                wanted = {name: value for name, value in form.items() if value}
                return _body(await client.post(endpoint, data=wanted, auth=basic))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoToken(f"the issuer {account.issuer} does not answer: {error or type(error).__name__}") from None


def _body(response: httpx.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        found = None
    body = found if isinstance(found, dict) else {}
    if response.is_error or not body:
        said = ": ".join(str(body[part]) for part in ("error", "error_description") if part in body) or "no JSON"
        raise NoToken(f"{response.request.url}: {response.status_code} {said}")
    return body
