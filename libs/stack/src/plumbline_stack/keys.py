"""The stack's own issuer of tokens: an ES256 key pair, its JWKS, and signed tokens."""

import base64
import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from plumbline_stack.credentials import write_private

ISSUER = "plumbline"
AUDIENCE = "plumbline"


class Issuer:
    """Signs tokens with the key in `folder`, which is made there at first use beside `jwks.json`."""

    def __init__(self, folder: Path, *, issuer: str = ISSUER, audience: str = AUDIENCE) -> None:
        self.issuer = issuer
        self.audience = audience
        self.jwks_path = folder / "jwks.json"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key = _load_or_make(folder / "jwt-key.pem")
        public = _jwk(self._key.public_key())
        self._key_id = public["kid"]
        self.jwks = json.dumps({"keys": [public]})
        write_private(self.jwks_path, self.jwks.encode())

    @property
    def jwks_uri(self) -> str:
        return self.jwks_path.resolve().as_uri()

    def token(
        self,
        *roles: str,
        teams: Iterable[str] = (),
        subject: str = "alice",
        expires_in: float = 3600,
        **claim_overrides: Any,
    ) -> str:
        """A signed token. `expires_in` is in seconds; a claim overridden by None is left out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": subject,
            "iat": now,
            "nbf": now,
            "exp": now + int(expires_in),
            "jti": str(uuid4()),
            "roles": list(roles),
            "teams": list(teams),
        } | claim_overrides
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(present, self._key, algorithm="ES256", headers={"kid": self._key_id})


def _load_or_make(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        pem = made.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_private(path, pem)
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} holds no elliptic-curve key")
    return key


def _jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    core = {"crv": "P-256", "kty": "EC", "x": _b64(numbers.x), "y": _b64(numbers.y)}
    # The thumbprint of RFC 7638: the members in this order, without spaces.
    digest = hashlib.sha256(json.dumps(core, separators=(",", ":")).encode()).digest()
    thumbprint = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return core | {"use": "sig", "alg": "ES256", "kid": thumbprint}


def _b64(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()
