"""The signature of Standard Webhooks 1.0.0, symmetric: https://github.com/standard-webhooks/standard-webhooks"""

import base64
import hashlib
import hmac

from plumbline_common.secret_store import NoSecret

PREFIX = "whsec_"


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


def sign(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`; `timestamp` in seconds since the epoch."""
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
