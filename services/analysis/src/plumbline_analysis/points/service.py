"""Telemetry in: decode, resolve, store."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.points import arrivals, late, pushed, repository, resolution
from plumbline_analysis.points.directory import Directory
from plumbline_analysis.points.limits import QuotaSpent, Reason
from plumbline_analysis.points.resolution import Resolved, Series
from plumbline_analysis.points.schemas import PushedPoint, PushResponse, RejectedPoint
from plumbline_analysis.series.slices import Int64
from plumbline_analysis.settings import Settings
from plumbline_analysis.sources import encoding
from plumbline_analysis.sources.batch import Batch, Window
from plumbline_analysis.sources.remote_write import Write
from plumbline_analysis.threads import sized
from plumbline_common import instruments, offload

_points = instruments.counter(
    "plumbline.analysis.points",
    "{point}",
    "Points received",
    {"plumbline.outcome": ("accepted", "rejected")},
)
_refused = instruments.counter(
    "plumbline.analysis.limit.refusals",
    "{refusal}",
    "New series, or points over the quota, that were refused",
    {"plumbline.reason": Reason},
)


def window(settings: Settings) -> Window:
    """The timestamps that are taken now."""
    return Window.around(time.time(), settings.past_limit_hours, settings.future_limit_minutes)


def read(
    decode: Callable[[bytes, Window], Batch], body: bytes, content_encoding: str, settings: Settings, known: Directory
) -> Resolved:
    """Everything about a request that needs no database: CPU-bound, for a thread where the body is large."""
    plain = encoding.decompress(body, content_encoding, settings.decompressed_limit_bytes)
    return resolution.resolve(decode(plain, window(settings)), known)


def read_write(
    decode: Callable[[bytes, Window], Write], body: bytes, content_encoding: str, settings: Settings, known: Directory
) -> tuple[Resolved, Write]:
    """As `read`, of a remote-write request."""
    plain = encoding.unsnap(body, content_encoding, settings.decompressed_limit_bytes)
    written = decode(plain, window(settings))
    return resolution.resolve(written, known), written


@dataclass(frozen=True)
class Written:
    """What of a remote-write request is stored, and what was left out and why; empty where nothing was."""

    samples: int
    histograms: int
    message: str


async def write(session: AsyncSession, found: Resolved, written: Write, known: Directory) -> Written:
    """Store what was read of a remote-write request, in the caller's transaction."""
    await store(session, found, known)
    samples, histograms = resolution.taken(found)
    return Written(samples + written.empty_samples, histograms + written.empty_histograms, written.message)


async def push(
    session: AsyncSession, points: Sequence[PushedPoint], settings: Settings, known: Directory
) -> PushResponse:
    """Store measurements of gauges; a point that can't be taken is reported, the others are kept."""
    found, places, rejected = await offload.in_thread(_read_pushed, points, settings, known)
    stored = await store(session, found, known)
    rejected += [
        RejectedPoint(index=places[block][point], detail=reason)
        for block, point, reason in resolution.refusals(found)
    ]
    return PushResponse(accepted=stored.accepted, rejected=sorted(rejected, key=lambda each: each.index))


def _read_pushed(
    points: Sequence[PushedPoint], settings: Settings, known: Directory
) -> tuple[Resolved, list[list[int]], list[RejectedPoint]]:
    batch, places, rejected = pushed.decode(points, window(settings))
    return resolution.resolve(batch, known), places, rejected


async def store(session: AsyncSession, found: Resolved, known: Directory) -> Batch:
    """Store what was read, in the caller's transaction, as far as the limits let it.

    Raises `QuotaSpent` where none of its services may send more in this minute.
    """
    _charge(found, known)
    if found.series:
        await _name_signals(session, found, known)
    size = found.batch.accepted
    if (numbers := await sized(size, resolution.number_rows, found)) is not None:
        await repository.copy_numbers(session, numbers)
        await _note_late(session, numbers.signal, numbers.time, known)
    if (histograms := await sized(size, resolution.histogram_rows, found)) is not None:
        wanted = set(histograms.layouts)
        layouts = {layout: number for layout in wanted if (number := known.layout(layout)) is not None}
        if missing := wanted - layouts.keys():
            made, there = await repository.layouts(session, missing)
            layouts |= made
            for layout in there:
                known.remember_layout(layout, made[layout])
        await repository.copy_histograms(session, histograms, layouts)
        await _note_late(session, histograms.signal, histograms.time, known)
    _points.add(found.batch.accepted, {"plumbline.outcome": "accepted"})
    _points.add(found.batch.rejected, {"plumbline.outcome": "rejected"})
    return found.batch


async def _note_late(session: AsyncSession, signal: Int64, time: Int64, known: Directory) -> None:
    await late.mark(session, signal, time)
    await arrivals.note(session, signal, time, known.timely)


def _charge(found: Resolved, known: Directory) -> None:
    """Leave out the points of those services that sent enough in this minute."""
    points: dict[str, int] = {}
    for block, row in zip(found.batch.blocks, found.numbers, strict=True):
        points[block.service] = points.get(block.service, 0) + int((row != resolution.REFUSED).sum())
    spent = {service for service, count in points.items() if count and not known.quota.charge(service, count)}
    if not spent:
        return
    told = known.limits.told(Reason.POINTS_PER_MINUTE)
    _refused.add(sum(points[service] for service in spent), {"plumbline.reason": Reason.POINTS_PER_MINUTE})
    if spent == points.keys():
        raise QuotaSpent(told, retry_after=known.quota.seconds_left)
    resolution.leave_out(found, spent, told)


async def _name_signals(session: AsyncSession, found: Resolved, known: Directory) -> None:
    numbers = await repository.signals(session, list(found.series))
    for block, keys in zip(found.batch.blocks, found.keys, strict=True):
        for key, identity in keys.items():
            if identity in numbers:
                known.remember(block.group, key, numbers[identity])
    missing = [series for identity, series in found.series.items() if identity not in numbers]
    refused: dict[bytes, str] = {}
    if missing:
        refused = await _refusals(session, missing, known)
        admitted = [each for each in missing if each.identity not in refused]
        numbers |= await repository.add_signals(session, admitted)
        # What another transaction added meanwhile is committed by now: adding waited for its end.
        left = [each.identity for each in admitted if each.identity not in numbers]
        numbers |= await repository.signals(session, left)
    await sized(found.batch.accepted, resolution.place, found, numbers, refused)


async def _refusals(session: AsyncSession, series: Sequence[Series], known: Directory) -> dict[bytes, str]:
    """Those of the new series that there is no room for, with the reason."""
    room = known.room
    if uncounted := room.uncounted(each.service for each in series):
        counts = await repository.series_counts(session, uncounted)
        room.counted(uncounted, counts, await repository.count_services(session))
    refused: dict[bytes, str] = {}
    reasons: Counter[Reason] = Counter()
    for each in series:
        if (reason := room.admit(each.service, each.head.metric)) is not None:
            refused[each.identity] = known.limits.told(reason)
            reasons[reason] += 1
    for reason, count in reasons.items():
        _refused.add(count, {"plumbline.reason": reason})
    return refused
