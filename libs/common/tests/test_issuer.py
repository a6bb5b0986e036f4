"""Against a provider of OpenID Connect in a process of its own."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from joserfc.jwk import ECKey
from pydantic import ValidationError

import oidc_provider
from oidc_provider import Provider
from plumbline_common import issuer as issuer_module
from plumbline_common.auth import Authenticator, Claims, UserInfo
from plumbline_common.errors import Unauthenticated, Unavailable
from plumbline_common.issuer import IssuerKeys
from plumbline_common.settings import ServiceSettings
from plumbline_stack import ports

MAPPING = Claims("realm_access.roles", "groups", {"sre-leads": "operator"})


@pytest.fixture(scope="module")
async def provider(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Provider]:
    async with oidc_provider.running(tmp_path_factory.mktemp("provider"), ports.choose()) as running:
        yield running


@pytest.fixture
def retry_at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(issuer_module, "RETRY_SECONDS", 0.0)
        yield


def authenticator(provider: Provider) -> Authenticator:
    return Authenticator(IssuerKeys(provider.issuer), oidc_provider.AUDIENCE, MAPPING)


async def test_a_service_account_of_any_provider_is_known_by_discovery(provider: Provider) -> None:
    token = await provider.token()
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    user = await authenticator(provider).user(token)
    assert user == UserInfo(oidc_provider.CLIENT, frozenset({"operator"}), frozenset({"payments"}))


async def test_keys_are_rotated_without_a_restart(provider: Provider, retry_at_once: None) -> None:
    ours = authenticator(provider)
    before = await provider.token()
    await ours.user(before)
    provider.rotate(keep=True, kind=ECKey)
    after = await provider.token()
    assert jwt.get_unverified_header(after)["alg"] == "ES256"
    assert await ours.user(after) == await ours.user(before)
    provider.rotate()
    await ours.user(await provider.token())
    for gone in (before, after):  # one that was verified before is not remembered either
        with pytest.raises(Unauthenticated, match="does not publish"):
            await ours.user(gone)


async def test_unknown_keys_are_asked_for_once_in_a_while(
    provider: Provider, issuer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = authenticator(provider)
    asked = 0
    load = IssuerKeys._load

    async def counted(self: IssuerKeys) -> Any:
        nonlocal asked
        asked += 1
        return await load(self)

    monkeypatch.setattr(IssuerKeys, "_load", counted)
    made_up = [issuer.token("admin") for _ in range(20)]
    found = await asyncio.gather(*map(ours.user, made_up), return_exceptions=True)
    assert {type(each) for each in found} == {Unauthenticated}
    assert asked == 1


async def test_an_outage_of_the_provider_hurts_only_keys_that_are_not_known(
    provider: Provider, retry_at_once: None
) -> None:
    ours = authenticator(provider)
    known = await provider.token()
    await ours.user(known)
    provider.rotate(keep=True)
    unknown = await provider.token()
    await provider.stop()
    try:
        assert (await ours.user(await reissued(known, provider))).subject == oidc_provider.CLIENT
        with pytest.raises(Unauthenticated, match="does not publish"):
            await ours.user(unknown)
        await ours.keys.check()
    finally:
        await provider.start()
    assert (await ours.user(unknown)).subject == oidc_provider.CLIENT


async def reissued(token: str, provider: Provider) -> str:
    """With the same key and another identity: no answer that is remembered."""
    key = jwt.PyJWK(provider.keys[0])
    claims = jwt.decode(token, options={"verify_signature": False}) | {"jti": "another"}
    return jwt.encode(claims, key.key, key.algorithm_name, {"kid": jwt.get_unverified_header(token)["kid"]})


async def test_a_provider_that_is_down_at_the_start_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Provider(tmp_path, ports.choose())
    ours = authenticator(provider)
    with pytest.raises(RuntimeError, match="the keys of the issuer http"):
        await ours.keys.check()
    monkeypatch.setattr(issuer_module, "RETRY_SECONDS", 0.01)
    keeping = asyncio.create_task(ours.keys.run())
    try:
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable):
            await ours.user(jwt.encode({}, "k" * 32, headers={"kid": "any"}))
        await provider.start()
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(RuntimeError):
                    await ours.keys.check()
                    break
                await asyncio.sleep(0.02)
        assert await ours.user(await provider.token())
    finally:
        keeping.cancel()
        await provider.stop()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"issuer": "https://another.example", "jwks_uri": "https://another.example/jwks"}, "another"),
        ({"issuer": "https://id.example", "jwks_uri": "http://id.example/jwks"}, "no address of its keys"),
        ({"issuer": "https://id.example", "jwks_uri": "file:///etc/passwd"}, "no address of its keys"),
        ({"issuer": "https://id.example"}, "no address of its keys"),
        ([], "its description is of None"),
    ],
)
async def test_a_description_that_is_not_the_issuers_is_refused(
    monkeypatch: pytest.MonkeyPatch, document: Any, reason: str
) -> None:
    async def described(*_: Any) -> Any:
        return document

    monkeypatch.setattr(issuer_module, "_json", described)
    keys = IssuerKeys("https://id.example")
    with pytest.raises(Unavailable):
        await keys.key("any")
    with pytest.raises(RuntimeError, match=reason):
        await keys.check()


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"keys": "none"},
        {"keys": []},
        {"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}, {"kty": "?"}, 5]},
    ],
)
async def test_what_is_no_set_of_public_keys_leaves_those_that_are_known(
    monkeypatch: pytest.MonkeyPatch, retry_at_once: None, issuer: Any, document: Any
) -> None:
    keys = IssuerKeys(issuer.issuer, issuer.jwks_uri)
    kid = jwt.get_unverified_header(issuer.token())["kid"]
    known = await keys.key(kid)

    async def broken(self: IssuerKeys) -> Any:
        return document

    monkeypatch.setattr(IssuerKeys, "_load", broken)
    with pytest.raises(Unauthenticated):
        await keys.key("another")
    assert await keys.key(kid) is known


CLAIMED = {
    "sub": "a",
    "exp": time.time() + 60,
    "https://example.org/roles": ["viewer"],
    "a": {"b": {"c": ["editor"]}},
}


@pytest.mark.parametrize(
    ("path", "roles"),
    [("https://example.org/roles", {"viewer"}), ("a.b.c", {"editor"}), ("a.b.d", set()), ("none", set())],
)
def test_a_claim_is_named_by_its_name_or_by_a_path(path: str, roles: set[str]) -> None:
    assert Claims(roles=path).user(CLAIMED).roles == roles


@pytest.mark.parametrize("path", ["a", "a.b", "a.b.c.d", "sub", "sub.x"])
def test_a_claim_of_another_kind_is_refused(path: str) -> None:
    with pytest.raises(Unauthenticated, match="list of strings"):
        Claims(teams=path).user(CLAIMED | {"a": {"b": {"c": [1]}}})


def test_names_of_the_issuer_that_stand_for_no_role_give_none() -> None:
    claims = {"sub": "a", "exp": 0, "roles": ["admin", "leads"]}
    assert Claims(role_names={"leads": "reviewer"}).user(claims).roles == {"reviewer"}


def test_an_issuer_that_cannot_be_found_is_refused() -> None:
    needed = {"database_url": "postgresql+asyncpg://nobody@localhost/none", "nats_url": "nats://localhost"}
    assert ServiceSettings(**needed, jwt_issuer="https://id.example").jwks_uri is None
    with pytest.raises(ValidationError, match="give the issuer's URL, such as https://"):
        ServiceSettings(**needed)
    with pytest.raises(ValidationError, match="jwt_role_names"):
        ServiceSettings(**needed, jwt_issuer="https://id.example", jwt_role_names={"leads": "boss"})
