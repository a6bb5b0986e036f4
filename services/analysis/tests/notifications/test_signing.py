import base64

import pytest

from plumbline_analysis.notifications import signing
from plumbline_common.secret_store import NoSecret


def test_the_signature_is_that_of_the_specifications_example() -> None:
    key = signing.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = signing.sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_key_may_be_plain_text_and_a_broken_one_is_told() -> None:
    assert signing.key_of("secret") == b"secret"
    assert signing.key_of("whsec_" + base64.b64encode(b"secret").decode()) == b"secret"
    for broken in ("whsec_?", "whsec_ä"):
        with pytest.raises(NoSecret, match="is no base64"):
            signing.key_of(broken)
    with pytest.raises(NoSecret, match="nothing follows whsec_"):
        signing.key_of("whsec_")
