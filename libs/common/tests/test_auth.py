import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from plumbline_common.auth import Authenticator, UserInfo, require
from plumbline_common.errors import Unauthenticated
from plumbline_common.issuer import IssuerKeys


@pytest.fixture
def authenticator(issuer: Any) -> Authenticator:
    return Authenticator(IssuerKeys(issuer.issuer, issuer.jwks_uri), issuer.audience)


async def test_a_good_token_names_the_caller(authenticator: Authenticator, issuer: Any) -> None:
    token = issuer.token("editor", teams=["payments"], subject="alice")
    user = await authenticator.user(token)
    assert user == UserInfo("alice", frozenset({"editor"}), frozenset({"payments"}))
    assert await authenticator.user(token) == user


async def test_the_caller_carries_the_end_of_the_token(authenticator: Authenticator, issuer: Any) -> None:
    end = int(time.time()) + 77
    assert (await authenticator.user(issuer.token("viewer", exp=end))).expires_at == end


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "another"}, "Audience"),
        ({"iss": "another"}, "issuer"),
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"nbf": int(time.time()) + 600}, "not yet valid"),
        ({"roles": "admin"}, "list of strings"),
        ({"sub": None}, "sub"),
    ],
)
async def test_a_token_with_wrong_claims_is_refused(
    authenticator: Authenticator, issuer: Any, claims: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Unauthenticated, match=reason):
        await authenticator.user(issuer.token("viewer", **claims))


async def test_half_a_minute_of_clock_skew_is_forgiven(authenticator: Authenticator, issuer: Any) -> None:
    assert await authenticator.user(issuer.token("viewer", exp=int(time.time()) - 10))


async def test_the_algorithm_of_the_token_is_not_trusted(authenticator: Authenticator, issuer: Any) -> None:
    good = issuer.token("admin")
    kid = jwt.get_unverified_header(good)["kid"]
    claims = jwt.decode(good, options={"verify_signature": False})
    unsigned = jwt.encode(claims, None, algorithm="none", headers={"kid": kid})
    symmetric = jwt.encode(claims, "x" * 32, algorithm="HS256", headers={"kid": kid})
    foreign = jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256", headers={"kid": kid})
    for token in (unsigned, symmetric, foreign):
        with pytest.raises(Unauthenticated):
            await authenticator.user(token)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é" * 10, "x" * 100_000])
async def test_what_is_no_token_is_refused(authenticator: Authenticator, token: str) -> None:
    with pytest.raises(Unauthenticated):
        await authenticator.user(token)


async def test_an_unknown_key_is_refused(authenticator: Authenticator, issuer: Any) -> None:
    claims = jwt.decode(issuer.token("admin"), options={"verify_signature": False})
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(Unauthenticated, match="does not publish"):
        await authenticator.user(jwt.encode(claims, key, algorithm="ES256", headers={"kid": "other"}))


@pytest.mark.parametrize(
    ("held", "asked", "allowed"),
    [
        ("viewer", "viewer", True),
        ("editor", "viewer", True),
        ("reviewer", "viewer", True),
        ("operator", "viewer", True),
        ("ingest", "viewer", False),
        ("viewer", "editor", False),
        ("editor", "reviewer", False),
        ("admin", "ingest", True),
    ],
)
def test_roles_allow_what_they_imply(held: str, asked: str, allowed: bool) -> None:
    assert UserInfo("alice", frozenset({held}), frozenset()).may(asked) is allowed


def test_a_role_that_does_not_exist_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="no such role"):
        require("superuser")
