"""What coverage answers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import offload
from plumbline_requirements.coverage import reports, repository
from plumbline_requirements.coverage.reports import Coverage
from plumbline_requirements.coverage.schemas import (
    Counts,
    CoverageFilter,
    CoveragePage,
    CoverageQuery,
    Group,
    ReportQuery,
    UnrequiredServicePage,
)
from plumbline_requirements.listing.repository import GAPS
from plumbline_requirements.listing.rules import in_words
from plumbline_requirements.listing.schemas import FilterQuery
from plumbline_requirements.listing.service import filters_of

REPORTED = 100
"""Groups, services and requirements that a report shows; of more it tells how many there are."""


async def page(session: AsyncSession, query: CoverageQuery) -> CoveragePage:
    return await _counted(session, query, query.skip, query.limit)


async def unrequired(session: AsyncSession, skip: int, limit: int) -> UnrequiredServicePage:
    items, total = await repository.unrequired(session, skip, limit)
    return UnrequiredServicePage(items=items, total=total)


async def report(session: AsyncSession, query: ReportQuery) -> str:
    """A page for people: HTML with pictures, or Markdown."""
    coverage = Coverage(
        counted=await _counted(session, query, 0, REPORTED),
        by=query.by,
        filters=in_words(query.model_dump(mode="json", include=set(FilterQuery.model_fields), exclude_defaults=True)),
        services=await unrequired(session, 0, REPORTED),
        incomplete=await repository.incomplete(session, filters_of(query), REPORTED),
    )
    return await offload.in_thread(reports.html if query.format == "html" else reports.markdown, coverage)


async def _counted(session: AsyncSession, query: CoverageFilter, skip: int, limit: int) -> CoveragePage:
    found = await repository.counts(session, filters_of(query), query.by, skip, limit)
    return CoveragePage(
        at=datetime.now(UTC),
        whole=Counts.model_validate(_counts(found.whole)),
        items=[Group.model_validate(_counts(row) | {"value": row["value"]}) for row in found.page],
        total=found.count,
    )


def _counts(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("total", "in_force", "complete")} | {
        "without": {name: row[name] for name in GAPS}
    }
