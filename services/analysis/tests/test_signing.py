import base64

import pytest

from plumbline_analysis import signing
from plumbline_common.secret_store import NoSecret

EXAMPLE = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_signature_is_that_of_the_specifications_example() -> None:
    key = signing.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert signing.sign(key, *EXAMPLE) == SIGNATURE
    assert signing.is_signed(key, SIGNATURE, *EXAMPLE)


def test_one_signature_of_several_is_enough_and_anothers_is_none() -> None:
    key = signing.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert signing.is_signed(key, f"v1a,{SIGNATURE[3:]} {SIGNATURE}", *EXAMPLE)
    for signatures in ("", "v1,", SIGNATURE[3:], signing.sign(b"another's", *EXAMPLE), f"v1,ü {SIGNATURE[:-2]}"):
        assert not signing.is_signed(key, signatures, *EXAMPLE)


def test_the_signature_of_github_is_that_of_its_documentation() -> None:
    key, body = b"It's a Secret to Everybody", b"Hello, World!"
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert signing.is_signed_by_github(key, signature, body)
    for other in ("", "sha256=", signature[7:], signature.upper(), "sha1" + signature[6:], "sha256=\udcff"):
        assert not signing.is_signed_by_github(key, other, body)
    assert not signing.is_signed_by_github(key, signature, body + b"!")


def test_a_key_may_be_plain_text_and_a_broken_one_is_told() -> None:
    assert signing.key_of("secret") == b"secret"
    assert signing.key_of("whsec_" + base64.b64encode(b"secret").decode()) == b"secret"
    for broken in ("whsec_?", "whsec_ä"):
        with pytest.raises(NoSecret, match="is no base64"):
            signing.key_of(broken)
    with pytest.raises(NoSecret, match="nothing follows whsec_"):
        signing.key_of("whsec_")
