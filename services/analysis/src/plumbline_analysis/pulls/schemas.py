"""What the routes of sources take and answer."""

import ipaddress
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Discriminator, Field, StringConstraints, Tag, model_validator

from plumbline_analysis.sources.queries import CloudWatchQuery, PrometheusQuery
from plumbline_common.schemas import Name, Schema, Storable
from plumbline_common.secret_store import SecretName

DAY = 86_400
MAX_QUERIES = 500


def _address(url: str) -> str:
    """Raises `ValueError` where `url` can't be the beginning of other addresses."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("must have a port from 1 to 65535, if any") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError("must be an address such as https://prometheus.example.org:9090")
    if parts.username is not None or parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("must have no user, query or fragment; credentials are named as secrets")
    if ":" in host:
        ipaddress.IPv6Address(host)
    return url.rstrip("/")


Address = Annotated[
    str,
    StringConstraints(pattern=r"^https?://[^\s<>\"\\^`{|}%]+$", max_length=2000),
    Storable,
    AfterValidator(_address),
]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]


class SourceKind(StrEnum):
    PROMETHEUS = "prometheus"
    CLOUDWATCH = "cloudwatch"


# --- Prometheus -----------------------------------------------------------------------------------------


class PrometheusSpec(Schema):
    url: Address
    """Below it is `/api/v1/query_range`: of Prometheus itself, Thanos, Mimir, VictoriaMetrics."""
    queries: Annotated[list[PrometheusQuery], Field(min_length=1, max_length=MAX_QUERIES)]
    up: bool = True
    """Whether `up` is pulled as well: 0 of a target that Prometheus can't scrape."""
    step_seconds: Annotated[int, Field(ge=1, le=3600)] = 15
    delay_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """How old a point is when it is pulled: the time that scrapes and remote writes take to arrive."""
    timeout_seconds: Annotated[float, Field(ge=0.1, le=20)] = 10
    """Of one request, from its beginning to the last byte."""
    requests_per_second: Annotated[float, Field(gt=0, le=100)] = 5
    bearer_token: SecretName | None = None
    headers: Annotated[dict[HeaderName, SecretName], Field(max_length=20)] = {}
    """Such as X-Scope-OrgID: each value is a secret's."""
    tls_ca: SecretName | None = None
    """Certificates (PEM) that are trusted instead of the usual ones."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _check_names([query.name for query in self.queries])
        return self

    def pulled(self) -> list[PrometheusQuery]:
        """The queries, and `up` where it is wanted and not among them."""
        has_up = any(query.name == "up" for query in self.queries)
        return [*self.queries, *([PrometheusQuery(name="up", query="up")] if self.up and not has_up else [])]


# --- CloudWatch -----------------------------------------------------------------------------------------


class CloudWatchSpec(Schema):
    region: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$", max_length=50)]
    queries: Annotated[list[CloudWatchQuery], Field(min_length=1, max_length=MAX_QUERIES)]
    endpoint_url: Address | None = None
    profile: Name | None = None
    """Of the AWS configuration beside the service; without it boto3's usual chain finds the credentials."""
    delay_seconds: Annotated[int, Field(ge=0, le=DAY)] = 120
    """How old a point is when it is pulled: CloudWatch still changes the last minutes."""
    timeout_seconds: Annotated[float, Field(ge=0.1, le=20)] = 10
    """Of connecting, and of each read."""
    requests_per_second: Annotated[float, Field(gt=0, le=50)] = 5

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _check_names([query.name for query in self.queries])
        return self

    def pulled(self) -> list[CloudWatchQuery]:
        return self.queries


def _check_names(names: list[str]) -> None:
    if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
        raise ValueError(f"two queries are named {twice!r}: the name is the metric of the signals")


# --- Sources --------------------------------------------------------------------------------------------

Spec: TypeAlias = PrometheusSpec | CloudWatchSpec
SPECS: dict[str, type[PrometheusSpec] | type[CloudWatchSpec]] = {
    SourceKind.PROMETHEUS: PrometheusSpec,
    SourceKind.CLOUDWATCH: CloudWatchSpec,
}


class _Source(Schema):
    name: Name
    """Unique, and never changed: it is part of what its signals are."""
    enabled: bool = True
    interval_seconds: Annotated[int, Field(ge=5, le=DAY)] = 60
    """How often what is new is pulled."""
    backfill_seconds: Annotated[int, Field(ge=0, le=35 * DAY)] = DAY
    """How far back the first pull goes, at most as long as points are kept."""


class PrometheusSource(_Source):
    kind: Literal[SourceKind.PROMETHEUS]
    spec: PrometheusSpec


class CloudWatchSource(_Source):
    kind: Literal[SourceKind.CLOUDWATCH]
    spec: CloudWatchSpec


def _kind(given: Any) -> str | None:
    kind = given.get("kind") if isinstance(given, dict) else getattr(given, "kind", None)
    return f"[{kind}]" if kind in list(SourceKind) else None


SourceContent = Annotated[
    Annotated[PrometheusSource, Tag("[prometheus]")] | Annotated[CloudWatchSource, Tag("[cloudwatch]")],
    Discriminator(_kind, "source_kind", "the kind must be prometheus or cloudwatch"),
]


class SourceState(StrEnum):
    DISABLED = "disabled"
    PENDING = "pending"
    """Nothing was pulled yet."""
    HEALTHY = "healthy"
    FAILING = "failing"


class SourceError(Schema):
    reason: str
    """A slug, such as timeout or unauthorized."""
    detail: str
    query: str | None = None
    at: AwareDatetime


class Backfill(Schema):
    since: AwareDatetime
    missing_seconds: Annotated[int, Field(ge=0)]
    """Over all queries; what an outage left out is missing too, until it is pulled."""
    done: Annotated[float, Field(ge=0, le=1)]


class SourceStatus(Schema):
    state: SourceState
    last_success: AwareDatetime | None
    last_error: SourceError | None
    """Kept after a recovery."""
    failing_since: AwareDatetime | None
    next_try: AwareDatetime | None
    """A source that fails again and again is left in peace until then."""
    lag_seconds: float | None
    """The age of the newest point that every query has reached."""
    points: Annotated[int, Field(ge=0)]
    """That were taken from it."""
    warnings: list[str]
    """What the last turn left out, or was warned of."""
    backfill: Backfill | None


class SourceResponse(Schema):
    id: UUID
    name: str
    kind: SourceKind
    enabled: bool
    interval_seconds: int
    backfill_seconds: int
    spec: Spec
    revision: int
    created_at: AwareDatetime
    created_by: str
    updated_at: AwareDatetime
    updated_by: str
    status: SourceStatus


class SourcePage(Schema):
    items: list[SourceResponse]
    total: Annotated[int, Field(ge=0)]


class PullTest(Schema):
    """What one query gave just now. Nothing of it is stored."""

    query: str
    series: int
    points: int
    seconds: float
    warnings: list[str]
    problem: SourceError | None
