"""An OpenID Connect provider of Authlib's in a process of its own, whose keys a test changes and which it may stop.

The process: `oidc_provider.py PORT FOLDER`. It signs with the last key of FOLDER/keys.json and publishes all of them.
"""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from joserfc.jwk import ECKey, KeySet, RSAKey

CLIENT, SECRET = "ci", "correct horse battery staple"
AUDIENCE = "plumbline"
CLAIMS = {"realm_access": {"roles": ["sre-leads", "offline_access"]}, "groups": ["payments"]}
"""As Keycloak words them."""


class Provider:
    """As the tests see it. `rotate` has it sign with a new key, and publish the old ones on only with `keep`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}/realms/sre"
        self._folder, self._port = folder, port
        self._process: Process | None = None
        self.keys: list[dict[str, Any]] = []
        self.rotate()

    def rotate(self, *, keep: bool = False, kind: type[RSAKey] | type[ECKey] = RSAKey) -> None:
        made = RSAKey.generate_key(2048) if kind is RSAKey else ECKey.generate_key("P-256")
        made.ensure_kid()
        alg = "RS256" if kind is RSAKey else "ES256"
        signing = made.as_dict(private=True) | {"alg": alg, "use": "sig"}
        self.keys = [*(self.keys if keep else []), signing]
        (self._folder / "keys.json").write_text(json.dumps(self.keys))

    async def start(self) -> None:
        argv = (sys.executable, __file__, str(self._port), str(self._folder))
        environment = os.environ | {"AUTHLIB_INSECURE_TRANSPORT": "1"}
        self._process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=DEVNULL, stderr=DEVNULL)
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(30):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    await client.get(f"{self.issuer}/jwks")
                    return
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def token(self) -> str:
        """For the service account, by its client credentials."""
        async with httpx.AsyncClient(trust_env=False) as client:
            form, credentials = {"grant_type": "client_credentials"}, (CLIENT, SECRET)
            answer = await client.post(f"{self.issuer}/token", data=form, auth=credentials)
        return str(answer.raise_for_status().json()["access_token"])


@contextlib.asynccontextmanager
async def running(folder: Path, port: int) -> AsyncIterator[Provider]:
    provider = Provider(folder, port)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()


def _app(issuer: str, folder: Path) -> Any:
    from authlib.integrations.flask_oauth2 import AuthorizationServer
    from authlib.oauth2.rfc6749 import ClientMixin
    from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
    from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
    from flask import Flask, jsonify

    def keys() -> list[dict[str, Any]]:
        return json.loads((folder / "keys.json").read_text())

    class Client(ClientMixin):
        def get_client_id(self) -> str:
            return CLIENT

        def get_allowed_scope(self, scope: str | None) -> str:
            return scope or ""

        def check_client_secret(self, client_secret: str) -> bool:
            return client_secret == SECRET

        def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
            return method == "client_secret_basic"

        def check_grant_type(self, grant_type: str) -> bool:
            return grant_type == "client_credentials"

    class Tokens(JWTBearerTokenGenerator):
        def get_jwks(self) -> KeySet:
            return KeySet.import_key_set({"keys": keys()[-1:]})

        def get_audiences(self, client: Any, user: Any, scope: str) -> list[str]:
            return [AUDIENCE, "account"]

        def get_extra_claims(self, client: Any, grant_type: str, user: Any, scope: str) -> dict[str, Any]:
            return CLAIMS

    app = Flask(__name__)
    clients = {CLIENT: Client()}
    server = AuthorizationServer(app, clients.get, lambda token, request: None)
    server.register_grant(ClientCredentialsGrant)

    @app.get("/realms/sre/.well-known/openid-configuration")
    def described() -> Any:
        return jsonify(
            issuer=issuer,
            jwks_uri=f"{issuer}/jwks",
            token_endpoint=f"{issuer}/token",
            grant_types_supported=["client_credentials"],
        )

    @app.get("/realms/sre/jwks")
    def published() -> Any:
        public = KeySet.import_key_set({"keys": keys()}).as_dict(private=False)["keys"]
        # As of other providers, one is for encryption, with an algorithm that signs nothing.
        return jsonify(keys=[*public, public[0] | {"kid": "to encrypt by", "use": "enc", "alg": "RSA-OAEP"}])

    @app.post("/realms/sre/token")
    def token() -> Any:
        server.register_token_generator("default", Tokens(issuer, keys()[-1]["alg"]))
        return server.create_token_response()

    return app


def main() -> None:
    from werkzeug.serving import run_simple

    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    run_simple("127.0.0.1", port, _app(f"http://127.0.0.1:{port}/realms/sre", folder), threaded=True)


if __name__ == "__main__":
    main()
