"""Logs in: decode, store."""

import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.lines import repository
from plumbline_analysis.lines.schemas import LinesResponse, RejectedLine
from plumbline_analysis.settings import Settings
from plumbline_analysis.sources import encoding
from plumbline_analysis.sources.batch import Window
from plumbline_analysis.sources.json_lines import Parsed
from plumbline_analysis.sources.lines import Line, Lines
from plumbline_analysis.threads import sized
from plumbline_common import instruments

T = TypeVar("T")

MAX_STREAMS = 1_000
"""Each may have a state of megabytes: the lines of further services are refused."""
_TOO_MANY = f"there are logs of {MAX_STREAMS} services already"

_lines = instruments.counter(
    "plumbline.analysis.log.lines",
    "{line}",
    "Log lines received",
    {"plumbline.outcome": ("accepted", "rejected")},
)


def read(
    decode: Callable[[bytes, Window, int], T], body: bytes, content_encoding: str, settings: Settings
) -> tuple[T, bytes]:
    """What needs no database: the decoded request and its digest. CPU-bound, for a thread where the body is large."""
    plain = encoding.decompress(body, content_encoding, settings.decompressed_limit_bytes)
    now = time.time()
    past_hours = min(settings.past_limit_hours, 24.0 * settings.log_retention_days)
    window = Window.around(now, past_hours, settings.future_limit_minutes)
    return decode(plain, window, int(now * 1e6)), blake2b(plain, digest_size=16).digest()


async def store_export(session: AsyncSession, found: Lines, digest: bytes) -> Lines:
    """Store the records of an OTLP request, in the caller's transaction. A retry of a stored one changes nothing,
    unless it has records without a time: two of these may be equal and still be two."""
    refused = await _refused_services(session, found.accepted)
    taken = [line for line in found.accepted if line.service not in refused]
    if len(taken) < len(found.accepted):
        found.reject(len(found.accepted) - len(taken), _TOO_MANY)
    await _store(session, taken, found.rejected, digest if found.is_timed else None)
    return found


async def store_lines(session: AsyncSession, parsed: Parsed, digest: bytes | None) -> LinesResponse:
    """Store JSON lines, in the caller's transaction; with a digest, those that it was stored for change nothing."""
    refused = await _refused_services(session, parsed.accepted)
    taken, rejected = [], list(parsed.rejected)
    for number, line in zip(parsed.numbers, parsed.accepted, strict=True):
        if line.service in refused:
            rejected.append((number, _TOO_MANY))
        else:
            taken.append(line)
    await _store(session, taken, len(rejected), digest)
    return await sized(len(rejected), _response, len(taken), sorted(rejected))


def _response(accepted: int, rejected: Sequence[tuple[int, str]]) -> LinesResponse:
    named = [RejectedLine.model_construct(line=number, detail=detail) for number, detail in rejected]
    return LinesResponse.model_construct(accepted=accepted, rejected=named)


async def _refused_services(session: AsyncSession, lines: Sequence[Line]) -> set[str]:
    """The services that there is no place for."""
    services = {line.service for line in lines}
    new = services - await repository.known_services(session, list(services))
    left = MAX_STREAMS - await repository.count_streams(session) if new else 0
    return set(sorted(new)[max(left, 0) :])


async def _store(session: AsyncSession, lines: Sequence[Line], rejected: int, digest: bytes | None) -> None:
    if lines and (digest is None or await repository.first_time(session, digest)):
        by_service: dict[str, list[Line]] = {}
        for line in lines:
            by_service.setdefault(line.service, []).append(line)
        await repository.copy(session, by_service)
        _lines.add(len(lines), {"plumbline.outcome": "accepted"})
    _lines.add(rejected, {"plumbline.outcome": "rejected"})
