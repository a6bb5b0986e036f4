"""What a what-if is asked and what it answers."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from plumbline_analysis.jobs.schemas import JobContent
from plumbline_common.schemas import AlertSeverity, Instant, Name, Schema, Slo

DAYS = 14
MOST_TOLD = 500
"""Alerts of an objective that are told one by one."""
CURVE = 300
"""Moments of the curve of a budget, at most."""


class WhatIfContent(JobContent):
    """An SLO to hold stored history against, from `start` to `end`: as if it had come into force at `start`."""

    slo: Slo
    service: Name | None = None
    """Of the requirement that it is for; decides nothing."""
    start: Instant | None = None
    """14 days before `end` if left out."""
    end: Instant | None = None
    """Now if left out."""


class WhatIfParameters(WhatIfContent):
    """What a worker is given."""

    asked_at: AwareDatetime


class WhatIfAlert(Schema):
    """A stretch in which somebody would have been alerted. Calm shorter than a recovery needs does not end it."""

    severity: AlertSeverity
    """`page` where any part of it was."""
    started_at: AwareDatetime
    ended_at: AwareDatetime | None
    """Null where it goes on."""
    burn_rate: float
    """The highest over the long window of a rule that held."""


class BudgetMoment(Schema):
    time: AwareDatetime
    budget_remaining: float | None
    """1 for the whole budget, negative when overspent; null without data."""
    burn_rate: float | None


class WhatIfObjective(Schema):
    """What one objective would have come to."""

    slo: str
    objective: Annotated[int, Field(ge=0)]
    target: float
    good: float
    total: float
    sli: float | None
    budget_burned: float | None
    """The part of its budget that is spent in the window that ends last: 1 for all of it, and more when overspent."""
    budget_lowest: float | None
    """The least that was ever left."""
    exhausted_at: AwareDatetime | None
    """When the budget was first spent."""
    pages: int
    tickets: int
    alerts: list[WhatIfAlert]
    """In their order, the first 500."""
    curve: list[BudgetMoment]
    missing: str | None = None
    """Why nothing is known of it."""


class WhatIfResult(Schema):
    start: AwareDatetime
    end: AwareDatetime
    signals: int
    """That the SLO means."""
    objectives: list[WhatIfObjective]
