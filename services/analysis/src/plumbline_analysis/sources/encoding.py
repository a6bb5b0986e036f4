"""Content encodings of a request body: `identity`, `gzip` and `snappy`, never more than a limit once decompressed."""

import zlib

import cramjam

from plumbline_analysis.sources.batch import Undecodable
from plumbline_common.errors import TooLarge, UnsupportedMedia

_GZIP = 16 + zlib.MAX_WBITS
_MAX_MEMBERS = 64


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as its sender wrote it.

    Raises `TooLarge` as soon as the output passes `limit` bytes (a bomb is never unpacked whole), `Undecodable`
    where the gzip data is damaged or ends early, `UnsupportedMedia` for another encoding.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip":
            return _gunzip(body, limit)
        case other:
            raise UnsupportedMedia(f"the content encoding {other[:50]!r} is not supported: send gzip or identity")


def unsnap(body: bytes, encoding: str, limit: int) -> bytes:
    """As `decompress`, of Snappy's block format, which remote-write demands: it is what no encoding means."""
    if encoding.strip().lower() not in ("", "snappy"):
        raise UnsupportedMedia(f"the content encoding {encoding.strip()[:50]!r} is not supported: send snappy")
    try:
        # The length stands at the beginning, and no more than that is ever unpacked.
        if cramjam.snappy.decompress_raw_len(body) > limit:
            raise TooLarge(f"the body is larger than {limit} bytes once decompressed")
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise Undecodable(f"the body is not in Snappy's block format: {error}") from None


def _gunzip(body: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit
    # RFC 1952: a file is one or more members. Thousands of tiny ones are an attack: each costs a copy of the rest.
    while body:
        if len(parts) >= _MAX_MEMBERS:
            raise Undecodable(f"the gzip data has more than {_MAX_MEMBERS} members")
        member = zlib.decompressobj(_GZIP)
        try:
            part = member.decompress(body, left + 1)
        except zlib.error as error:
            raise Undecodable(f"the body is not gzip: {error}") from None
        if len(part) > left:
            raise TooLarge(f"the body is larger than {limit} bytes once decompressed")
        if not member.eof:
            raise Undecodable("the gzip data ends early")
        parts.append(part)
        left -= len(part)
        body = member.unused_data
    if not parts:
        raise Undecodable("the body is not gzip: it is empty")
    return parts[0] if len(parts) == 1 else b"".join(parts)
