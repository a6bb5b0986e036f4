"""Signatures of webhooks, all HMAC-SHA256: those of Standard Webhooks 1.0.0, symmetric, and those of GitHub.

https://github.com/standard-webhooks/standard-webhooks
https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
"""

import base64
import hashlib
import hmac

from plumbline_common.secret_store import NoSecret

PREFIX = "whsec_"
_MOST = 10
"""Signatures of one message that are looked at: a sender that rotates its key gives two."""


def key_of(secret: str) -> bytes:
    """`whsec_` and base64 of the key, as the specification has it; any other text is the key itself.

    Raises `NoSecret` where what follows the prefix is no base64 of anything.
    """
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        raise NoSecret(f"what follows {PREFIX} in the secret is no base64") from None
    if not key:
        raise NoSecret(f"nothing follows {PREFIX} in the secret")
    return key


def sign(key: bytes, id: str, timestamp: int | str, body: bytes) -> str:
    """The value of `webhook-signature`; `timestamp` in seconds since the epoch."""
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def is_signed(key: bytes, signatures: str, id: str, timestamp: str, body: bytes) -> bool:
    """Whether one of `signatures`, the value of `webhook-signature`, is the key's. In constant time."""
    expected = sign(key, id, timestamp, body)
    return any(_are_same(expected, given) for given in signatures.split(" ")[:_MOST])


def is_signed_by_github(key: bytes, signature: str, body: bytes) -> bool:
    """Whether `signature`, the value of `X-Hub-Signature-256`, is the key's. In constant time."""
    return _are_same("sha256=" + hmac.digest(key, body, hashlib.sha256).hex(), signature)


def _are_same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode(errors="replace"))
