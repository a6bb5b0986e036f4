"""Remote-write requests by hand: protobuf's wire format and Snappy's, without the code that is under test."""

import struct
from collections.abc import Iterable, Mapping, Sequence

import cramjam

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
V1 = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
V2 = V1 | {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1


def part(number: int, content: bytes | str) -> bytes:
    """A field of bytes, text or a message."""
    raw = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def double(number: int, value: float) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<d", value)


def snappy(body: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(body))


def sample(value: float, at_ms: int, start_ms: int = 0) -> bytes:
    return double(1, value) + whole(2, at_ms) + (whole(3, start_ms) if start_ms else b"")


def spans(number: int, given: Sequence[tuple[int, int]]) -> bytes:
    return b"".join(part(number, whole(1, zigzag(offset)) + whole(2, length)) for offset, length in given)


def native(
    at_ms: int,
    count: int,
    total: float,
    schema: int,
    positive: tuple[Sequence[tuple[int, int]], Sequence[int]] = ((), ()),
    negative: tuple[Sequence[tuple[int, int]], Sequence[int]] = ((), ()),
    zero: tuple[float, int] = (0.0, 0),
    bounds: Sequence[float] = (),
    more: bytes = b"",
) -> bytes:
    """A native histogram: spans and deltas of buckets, the zero bucket's threshold and count, custom bounds."""
    return b"".join(
        (
            whole(1, count),
            double(3, total),
            whole(4, zigzag(schema)),
            double(5, zero[0]),
            whole(6, zero[1]),
            spans(8, negative[0]),
            part(9, b"".join(varint(zigzag(delta)) for delta in negative[1])),
            spans(11, positive[0]),
            part(12, b"".join(varint(zigzag(delta)) for delta in positive[1])),
            whole(15, at_ms),
            part(16, struct.pack(f"<{len(bounds)}d", *bounds)),
            more,
        )
    )


def series(labels: Mapping[str, str], samples: Iterable[bytes] = (), histograms: Iterable[bytes] = ()) -> bytes:
    """Of 1.0."""
    named = b"".join(part(1, part(1, name) + part(2, value)) for name, value in labels.items())
    return named + b"".join(part(2, each) for each in samples) + b"".join(part(4, each) for each in histograms)


def write_request(*every: bytes) -> bytes:
    return b"".join(part(1, each) for each in every)


class Symbols(dict[str, int]):
    """The table of strings of a request of 2.0."""

    def __missing__(self, text: str) -> int:
        self[text] = len(self)
        return self[text]

    def series(
        self,
        labels: Mapping[str, str],
        samples: Iterable[bytes] = (),
        histograms: Iterable[bytes] = (),
        type: int = 0,
        unit: str = "",
        created_ms: int = 0,
    ) -> bytes:
        self[""]
        refs = b"".join(varint(self[name]) + varint(self[value]) for name, value in labels.items())
        metadata = whole(1, type) + whole(3, self["Some help"]) + whole(4, self[unit])
        return b"".join(
            (
                part(1, refs),
                *(part(2, each) for each in samples),
                *(part(3, each) for each in histograms),
                part(5, metadata),
                whole(6, created_ms) if created_ms else b"",
            )
        )

    def request(self, *every: bytes) -> bytes:
        return b"".join(part(4, text) for text in self) + b"".join(part(5, each) for each in every)
