"""What can be done with sources, and what is recorded of pulling them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import PullSource
from plumbline_analysis.moments import moment
from plumbline_analysis.pulls import repository, rules
from plumbline_analysis.pulls.failures import Setback
from plumbline_analysis.pulls.rules import Mark
from plumbline_analysis.pulls.schemas import (
    SPECS,
    Backfill,
    CloudWatchSource,
    PrometheusSource,
    PrometheusSpec,
    SourceError,
    SourcePage,
    SourceResponse,
    SourceState,
    SourceStatus,
    Spec,
)
from plumbline_common import db, outbox
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Conflict, NotFound
from plumbline_common.events import SourceFailing, SourceRecovered
from plumbline_common.outgoing import Targets
from plumbline_common.preconditions import check_match

MOST = 500
_MOST_WARNINGS = 20

Content = PrometheusSource | CloudWatchSource


class SourceExists(Conflict):
    slug = "source-exists"
    title = "There is a source of this name"


class TooManySources(Conflict):
    slug = "too-many-sources"
    title = "There are as many sources as there may be"


class AddressNotAllowed(Conflict):
    slug = "address-not-allowed"
    title = "Sources may not be at this address"


class PartOfItsSignals(Conflict):
    slug = "part-of-its-signals"
    title = "A source's name and kind are part of what its signals are"


async def page(session: AsyncSession, name: str | None, skip: int, limit: int) -> SourcePage:
    """By name."""
    rows, total = await repository.page(session, name, skip, limit)
    marks = await repository.marks(session, [row.id for row in rows])
    return SourcePage(items=[_shown(row, marks[row.id]) for row in rows], total=total)


async def one(session: AsyncSession, id: UUID) -> SourceResponse:
    """Raises `NotFound`."""
    source = _found(await repository.find(session, id), id)
    return await _with_marks(session, source)


async def create(session: AsyncSession, content: Content, actor: UserInfo, targets: Targets) -> SourceResponse:
    """Raises `AddressNotAllowed`, `SourceExists` and `TooManySources`."""
    _check_address(content.spec, targets)
    if await repository.count(session) >= MOST:
        raise TooManySources(f"there are {MOST}; delete one")
    now = datetime.now(UTC)
    made = {"created_at": now, "created_by": actor.subject, "updated_at": now, "updated_by": actor.subject}
    source = await repository.add(session, id=db.new_id(), revision=1, **content.model_dump(mode="json"), **made)
    if source is None:
        raise SourceExists(f"there is a source {content.name}", pointer="/name")
    return _shown(source, {})


async def replace(
    session: AsyncSession, id: UUID, content: Content, if_match: str | None, actor: UserInfo, targets: Targets
) -> SourceResponse:
    """A query that asks something else than before begins anew, with its backfill; the others go on.

    Raises `NotFound`, `PartOfItsSignals`, `AddressNotAllowed`, and where `if_match` names another revision.
    """
    source = _found(await repository.locked(session, id), id)
    check_match(source.revision, if_match)
    for member in ("name", "kind"):
        if getattr(content, member) != getattr(source, member):
            raise PartOfItsSignals("must stay as it is: make another source", pointer=f"/{member}")
    _check_address(content.spec, targets)
    await repository.forget_marks(session, id, _unchanged(spec_of(source), content.spec))
    for member, value in content.model_dump(mode="json").items():
        setattr(source, member, value)
    source.revision += 1
    source.updated_at, source.updated_by = datetime.now(UTC), actor.subject
    source.failures, source.next_try, source.warnings = 0, None, []
    await session.flush()
    return await _with_marks(session, source)


async def delete(session: AsyncSession, id: UUID, if_match: str | None) -> None:
    """Its signals and points stay. Raises `NotFound`, and where `if_match` names another revision."""
    source = _found(await repository.locked(session, id), id)
    check_match(source.revision, if_match)
    await repository.remove(session, source)


def spec_of(source: PullSource) -> Spec:
    return SPECS[source.kind].model_validate(source.spec)


# --- What is recorded -----------------------------------------------------------------------------------


async def succeeded(session: AsyncSession, source: PullSource, warnings: Sequence[str]) -> None:
    """A turn gave all that was asked for."""
    now = datetime.now(UTC)
    if source.failing_since is not None:
        await outbox.stage(session, SourceRecovered(failing_since=source.failing_since, **_about(source, now)))
    source.last_success = now
    source.failures, source.failing_since, source.next_try = 0, None, None
    source.warnings = list(warnings[:_MOST_WARNINGS])


async def failed(session: AsyncSession, source: PullSource, setback: Setback, chance: float) -> float:
    """A turn failed. The seconds that the source is left in peace: 0 unless it is away, for the other queries go on
    as before. `chance` is in [0, 1)."""
    now, rests, failure = datetime.now(UTC), 0.0, setback.failure
    if source.failing_since is None:
        told = SourceFailing(reason=failure.reason, detail=failure.detail, **_about(source, now))
        await outbox.stage(session, told)
        source.failing_since = now
    error = SourceError(reason=failure.reason, detail=failure.detail, query=setback.query, at=now)
    source.last_error = error.model_dump(mode="json")
    if setback.is_away:
        source.failures += 1
        rests = max(rules.rest(source.failures, source.interval_seconds, chance), failure.retry_after or 0.0)
        source.next_try = now + timedelta(seconds=rests)
    else:
        source.failures, source.next_try = 0, None
    return rests


def _about(source: PullSource, at: datetime) -> dict[str, Any]:
    return {"source_id": source.id, "name": source.name, "kind": source.kind, "at": at}


# --- What is shown --------------------------------------------------------------------------------------


def _found(source: PullSource | None, id: UUID) -> PullSource:
    if source is None:
        raise NotFound(f"there is no source {id}")
    return source


def _check_address(spec: Spec, targets: Targets) -> None:
    member, url = ("url", spec.url) if isinstance(spec, PrometheusSpec) else ("endpoint_url", spec.endpoint_url)
    if url is not None and (fault := targets.fault(str(urlsplit(url).hostname))) is not None:
        raise AddressNotAllowed(fault, pointer=f"/spec/{member}")


def _unchanged(before: Spec, after: Spec) -> list[str]:
    def asked(spec: Spec) -> dict[str, Any]:
        shared = spec.model_dump(include={"url", "step_seconds", "region", "endpoint_url", "profile"})
        return {query.name: (query, shared) for query in spec.pulled()}

    old = asked(before)
    return [name for name, what in asked(after).items() if old.get(name) == what]


async def _with_marks(session: AsyncSession, source: PullSource) -> SourceResponse:
    return _shown(source, (await repository.marks(session, [source.id]))[source.id])


def _shown(source: PullSource, marks: Mapping[str, Mark]) -> SourceResponse:
    shown = {name: getattr(source, name) for name in SourceResponse.model_fields if name not in ("spec", "status")}
    return SourceResponse(**shown, spec=spec_of(source), status=_status(source, marks))


def _status(source: PullSource, marks: Mapping[str, Mark]) -> SourceStatus:
    return SourceStatus(
        state=_state(source),
        last_success=source.last_success,
        last_error=None if source.last_error is None else SourceError.model_validate(source.last_error),
        failing_since=source.failing_since,
        next_try=source.next_try,
        lag_seconds=lag(list(marks.values()), datetime.now(UTC)),
        points=source.points,
        warnings=source.warnings,
        backfill=_backfill(list(marks.values())),
    )


def _state(source: PullSource) -> SourceState:
    if not source.enabled:
        return SourceState.DISABLED
    if source.failing_since is not None:
        return SourceState.FAILING
    return SourceState.PENDING if source.last_success is None else SourceState.HEALTHY


def lag(marks: Sequence[Mark], now: datetime) -> float | None:
    """Seconds since the newest point that all queries have reached; None before the first pull."""
    if not marks:
        return None
    return max(0.0, round(now.timestamp() - min(mark.reached for mark in marks), 3))


def _backfill(marks: Sequence[Mark]) -> Backfill | None:
    if not marks:
        return None
    whole, missing = sum(mark.reached - mark.begins for mark in marks), sum(mark.missing for mark in marks)
    since = moment(min(mark.begins for mark in marks) * 1_000_000)
    return Backfill(since=since, missing_seconds=missing, done=max(0.0, 1 - missing / whole) if whole else 0.0)
