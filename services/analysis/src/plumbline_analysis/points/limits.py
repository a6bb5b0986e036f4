"""How many series there may be, and how many points a service may send in a minute. Pure.

Each process counts on its own. The numbers of series are those of the database, read again each minute where further
series come, so processes that admit some at once may together pass a limit by what they admit within that minute.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from plumbline_analysis.settings import Settings
from plumbline_common.errors import TooMany

_MINUTE = 60
_MAX_NAMES = 10_000
"""So many services are told apart within a minute; further ones share a quota."""


class Reason(StrEnum):
    """What a metric is told."""

    SERIES_PER_METRIC = "series_per_metric"
    SERIES_PER_SERVICE = "series_per_service"
    SERVICES = "services"
    POINTS_PER_MINUTE = "points_per_minute"


class QuotaSpent(TooMany):
    slug = "quota-spent"
    title = "The service sent as many points as it may in a minute"


@dataclass(frozen=True)
class Limits:
    """`series_per_metric` counts within one service."""

    series_per_metric: int
    series_per_service: int
    services: int
    points_per_minute: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(
            settings.series_per_metric_limit,
            settings.series_per_service_limit,
            settings.services_limit,
            settings.points_per_minute_limit,
        )

    def told(self, reason: Reason) -> str:
        """What the sender is told."""
        match reason:
            case Reason.SERIES_PER_METRIC:
                return f"the metric has {self.series_per_metric} series in this service, and may have no more"
            case Reason.SERIES_PER_SERVICE:
                return f"the service has {self.series_per_service} series, and may have no more"
            case Reason.SERVICES:
                return f"there are {self.services} services, and may be no more"
            case Reason.POINTS_PER_MINUTE:
                return f"the service sent the {self.points_per_minute} points that it may send in a minute"


NONE = Limits(2**62, 2**62, 2**62, 2**62)


class Room:
    """How many series there are, so that further ones can be refused without asking the database each time."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._minute = -1
        self._counts: dict[str, dict[str, int]] = {}
        self._totals: dict[str, int] = {}
        self._services = 0

    def uncounted(self, services: Iterable[str]) -> set[str]:
        """Those whose series must be counted before some of them are admitted."""
        if (minute := int(self._clock() // _MINUTE)) != self._minute:
            self._minute = minute
            self._counts.clear()
            self._totals.clear()
        return set(services) - self._counts.keys()

    def counted(self, services: Iterable[str], counts: Mapping[str, Mapping[str, int]], known_services: int) -> None:
        """Learn how many series each metric of these services has, and how many services there are."""
        for service in services:
            self._counts[service] = dict(counts.get(service, {}))
            self._totals[service] = sum(self._counts[service].values())
        self._services = known_services

    def admit(self, service: str, metric: str) -> Reason | None:
        """Count a further series of a service that was counted; why there is no room for it, None where there is."""
        counts, total = self._counts[service], self._totals[service]
        if total == 0 and self._services >= self._limits.services:
            return Reason.SERVICES
        if total >= self._limits.series_per_service:
            return Reason.SERIES_PER_SERVICE
        if (own := counts.get(metric, 0)) >= self._limits.series_per_metric:
            return Reason.SERIES_PER_METRIC
        self._services += total == 0
        self._totals[service] = total + 1
        counts[metric] = own + 1
        return None


class Quota:
    """The points that each service sent since the minute began."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = limits.points_per_minute
        self._clock = clock
        self._minute = -1
        self._spent: dict[str, int] = {}

    @property
    def seconds_left(self) -> int:
        """Until the next minute begins; at least 1."""
        return _MINUTE - int(self._clock() % _MINUTE)

    def charge(self, service: str, points: int) -> bool:
        """Whether the service may send so many more. The first points of a minute always may come."""
        if (minute := int(self._clock() // _MINUTE)) != self._minute:
            self._minute = minute
            self._spent.clear()
        name = service if service in self._spent or len(self._spent) < _MAX_NAMES else ""
        spent = self._spent.get(name, 0)
        if spent and spent + points > self._most:
            return False
        self._spent[name] = spent + points
        return True
