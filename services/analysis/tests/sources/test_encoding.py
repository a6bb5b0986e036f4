import gzip
import zlib

import pytest

from plumbline_analysis.sources.batch import Undecodable
from plumbline_analysis.sources.encoding import decompress
from plumbline_common.errors import TooLarge, UnsupportedMedia

BODY = b"some telemetry" * 100


def test_gzip_and_plain_bodies_are_read() -> None:
    assert decompress(BODY, "", len(BODY)) == BODY
    assert decompress(BODY, "identity", len(BODY)) == BODY
    assert decompress(gzip.compress(BODY), " GZip ", len(BODY)) == BODY
    assert decompress(gzip.compress(BODY) + gzip.compress(b"more"), "gzip", 10_000) == BODY + b"more"


def test_a_bomb_stops_at_the_limit() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(TooLarge, match="1000 bytes"):
        decompress(bomb, "gzip", 1000)
    with pytest.raises(TooLarge):
        decompress(gzip.compress(b"x" * 600) * 2, "gzip", 1000)


def test_many_tiny_members_are_refused() -> None:
    with pytest.raises(Undecodable, match="members"):
        decompress(gzip.compress(b"x") * 1000, "gzip", 10_000)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"plain",
        gzip.compress(BODY)[:-9],
        gzip.compress(BODY)[:10],
        zlib.compress(BODY),
        gzip.compress(BODY) + b"!",
    ],
)
def test_damaged_gzip_is_undecodable(body: bytes) -> None:
    with pytest.raises(Undecodable):
        decompress(body, "gzip", 10_000)


def test_other_encodings_are_not_supported() -> None:
    with pytest.raises(UnsupportedMedia, match="zstd"):
        decompress(BODY, "zstd", 10_000)
