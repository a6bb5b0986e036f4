import jwt

from plumbline_stack.keys import Issuer


def test_a_token_verifies_against_the_published_key(issuer: Issuer) -> None:
    token = issuer.token("editor", "reviewer", teams=["payments"], subject="bob")
    key = jwt.PyJWKSet.from_json(issuer.jwks_path.read_text()).keys[0]
    claims = jwt.decode(token, key, algorithms=["ES256"], audience=issuer.audience, issuer=issuer.issuer)
    assert (claims["sub"], claims["roles"], claims["teams"]) == ("bob", ["editor", "reviewer"], ["payments"])
    assert jwt.get_unverified_header(token)["kid"] == key.key_id


def test_claims_can_be_overridden_and_left_out(issuer: Issuer) -> None:
    claims = jwt.decode(issuer.token(aud="other", exp=None), options={"verify_signature": False})
    assert claims["aud"] == "other"
    assert "exp" not in claims


def test_the_key_stays_the_same(issuer: Issuer) -> None:
    assert Issuer(issuer.jwks_path.parent).jwks == issuer.jwks
