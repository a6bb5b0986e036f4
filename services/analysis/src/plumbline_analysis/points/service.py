"""Telemetry in: decode, resolve, store."""

import time
from collections.abc import Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.points import late, pushed, repository, resolution
from plumbline_analysis.points.directory import Directory
from plumbline_analysis.points.resolution import Resolved
from plumbline_analysis.points.schemas import PushedPoint, PushResponse, RejectedPoint
from plumbline_analysis.settings import Settings
from plumbline_analysis.sources import encoding
from plumbline_analysis.sources.batch import Batch, Window
from plumbline_analysis.threads import sized
from plumbline_common import offload, telemetry

_points = telemetry.meter.create_counter("plumbline.analysis.points", "{point}", "Points received, by outcome")


def window(settings: Settings) -> Window:
    """The timestamps that are taken now."""
    return Window.around(time.time(), settings.past_limit_hours, settings.future_limit_minutes)


def read(
    decode: Callable[[bytes, Window], Batch], body: bytes, content_encoding: str, settings: Settings, known: Directory
) -> Resolved:
    """Everything about a request that needs no database: CPU-bound, for a thread where the body is large."""
    plain = encoding.decompress(body, content_encoding, settings.decompressed_limit_bytes)
    return resolution.resolve(decode(plain, window(settings)), known)


async def push(
    session: AsyncSession, points: Sequence[PushedPoint], settings: Settings, known: Directory
) -> PushResponse:
    """Store measurements of gauges; a point whose time can't be taken is reported, the others are kept."""
    found, rejected = await offload.in_thread(_read_pushed, points, settings, known)
    stored = await store(session, found, known)
    return PushResponse(accepted=stored.accepted, rejected=rejected)


def _read_pushed(
    points: Sequence[PushedPoint], settings: Settings, known: Directory
) -> tuple[Resolved, list[RejectedPoint]]:
    batch, rejected = pushed.decode(points, window(settings))
    return resolution.resolve(batch, known), rejected


async def store(session: AsyncSession, found: Resolved, known: Directory) -> Batch:
    """Store what was read, in the caller's transaction."""
    if found.series:
        await _name_signals(session, found, known)
    size = found.batch.accepted
    if (numbers := await sized(size, resolution.number_rows, found)) is not None:
        await repository.copy_numbers(session, numbers)
        await late.mark(session, numbers.signal, numbers.time)
    if (histograms := await sized(size, resolution.histogram_rows, found)) is not None:
        wanted = set(histograms.layouts)
        layouts = {layout: number for layout in wanted if (number := known.layout(layout)) is not None}
        if missing := wanted - layouts.keys():
            made, there = await repository.layouts(session, missing)
            layouts |= made
            for layout in there:
                known.remember_layout(layout, made[layout])
        await repository.copy_histograms(session, histograms, layouts)
        await late.mark(session, histograms.signal, histograms.time)
    _points.add(found.batch.accepted, {"plumbline.outcome": "accepted"})
    _points.add(found.batch.rejected, {"plumbline.outcome": "rejected"})
    return found.batch


async def _name_signals(session: AsyncSession, found: Resolved, known: Directory) -> None:
    numbers = await repository.signals(session, list(found.series))
    for block, keys in zip(found.batch.blocks, found.keys, strict=True):
        for key, identity in keys.items():
            if identity in numbers:
                known.remember(block.head, key, numbers[identity])
    missing = [series for identity, series in found.series.items() if identity not in numbers]
    if missing:
        numbers |= await repository.add_signals(session, missing)
        # What another transaction added meanwhile is committed by now: adding waited for its end.
        left = [each.identity for each in missing if each.identity not in numbers]
        numbers |= await repository.signals(session, left)
    await sized(found.batch.accepted, resolution.place, found, numbers)
