"""Rows of log lines in PostgreSQL's binary COPY format: see `points.copy_format`. O(bytes)."""

import struct
from collections.abc import Sequence

from plumbline_analysis.points.copy_format import HEADER, POSTGRES_EPOCH, TRAILER
from plumbline_analysis.sources.lines import Line

COLUMNS = ("stream", "position", "ts", "severity", "body", "attributes")
_FIXED = struct.Struct(">hiqiqiqihi")
_JSONB = struct.Struct(">iB")
_JSONB_VERSION = 1


def rows(streams: Sequence[tuple[int, int, Sequence[Line]]]) -> bytes:
    """The COPY data of the lines of some streams: the number of each, and the position before its first line."""
    parts = [HEADER]
    for stream, position, lines in streams:
        for line in lines:
            position += 1
            at, size = line.time - POSTGRES_EPOCH, len(line.body)
            parts += (
                _FIXED.pack(len(COLUMNS), 8, stream, 8, position, 8, at, 2, line.severity, size),
                line.body,
                _JSONB.pack(len(line.attributes) + 1, _JSONB_VERSION),
                line.attributes,
            )
    parts.append(TRAILER)
    return b"".join(parts)
