"""The tables of the analysis service."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from plumbline_common import db, idempotency, inbox, outbox


class Base(DeclarativeBase):
    metadata = db.metadata()


outbox.add_tables(Base.metadata)
inbox.add_tables(Base.metadata)
idempotency.add_table(Base.metadata)


# --- Telemetry ------------------------------------------------------------------------------------------


class Signal(Base):
    """A time series. `number` stands for it in the tables of points, where eight bytes a row count."""

    __tablename__ = "signals"
    __table_args__ = (
        Index(
            "ix_signals_attributes",
            "attributes",
            postgresql_using="gin",
            postgresql_ops={"attributes": "jsonb_path_ops"},
        ),
        Index("ix_signals_metric_number", "metric", "number"),
        Index("ix_signals_service_metric", "service", "metric"),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    identity: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    """A hash of all that tells this series from another."""
    source: Mapped[str] = mapped_column(Text)
    metric: Mapped[str] = mapped_column(Text)
    unit: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    temporality: Mapped[str] = mapped_column(Text)
    monotonic: Mapped[bool] = mapped_column(Boolean)
    scope: Mapped[str] = mapped_column(Text)
    service: Mapped[str | None] = mapped_column(Text)
    resource: Mapped[dict[str, str]] = mapped_column(JSONB)
    attributes: Mapped[dict[str, str]] = mapped_column(JSONB)
    """The point's attributes and the resource's, as a query may name both; the point's win."""
    requirement_id: Mapped[UUID | None] = mapped_column(Uuid, index=True)
    slo: Mapped[str | None] = mapped_column(Text)
    aggregation: Mapped[str | None] = mapped_column(Text)
    first_seen: Mapped[datetime] = mapped_column(db.timestamp(), server_default=sa.func.now())


class BucketLayout(Base):
    """The buckets of histograms, each layout once."""

    __tablename__ = "bucket_layouts"

    id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    identity: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    bounds: Mapped[list[float]] = mapped_column(ARRAY(Double))
    scale: Mapped[int | None] = mapped_column(SmallInteger)
    zero_threshold: Mapped[float] = mapped_column(Double)


class NumberPoint(Base):
    """Points of gauges and sums as they came: cumulative ones with their start time, so that any reader may derive
    the same increases. No start time is 1970-01-01, as in OTLP."""

    __tablename__ = "number_points"
    __table_args__ = {"postgresql_partition_by": "RANGE (ts)"}

    signal: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    ts: Mapped[datetime] = mapped_column(db.timestamp(), primary_key=True)
    start_ts: Mapped[datetime] = mapped_column(db.timestamp())
    value: Mapped[float] = mapped_column(Double)


class HistogramPoint(Base):
    """Points of histograms as they came. `sum`, `min`, `max` are NaN where the sender gave none."""

    __tablename__ = "histogram_points"
    __table_args__ = {"postgresql_partition_by": "RANGE (ts)"}

    signal: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    ts: Mapped[datetime] = mapped_column(db.timestamp(), primary_key=True)
    start_ts: Mapped[datetime] = mapped_column(db.timestamp())
    count: Mapped[int] = mapped_column(BigInteger)
    sum: Mapped[float] = mapped_column(Double)
    min: Mapped[float] = mapped_column(Double)
    max: Mapped[float] = mapped_column(Double)
    layout: Mapped[int] = mapped_column(Integer)
    position: Mapped[int] = mapped_column(Integer)
    """The index of the first exponential bucket in `counts`; 0 for explicit bounds."""
    zero_count: Mapped[int] = mapped_column(BigInteger)
    negative_position: Mapped[int] = mapped_column(Integer)
    counts: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    negative_counts: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))


class Detection(Base):
    """What the detector said of each point of an indicator; the band is empty while it is learning."""

    __tablename__ = "detections"
    __table_args__ = {"postgresql_partition_by": "RANGE (ts)"}

    signal: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    ts: Mapped[datetime] = mapped_column(db.timestamp(), primary_key=True)
    value: Mapped[float] = mapped_column(Double)
    expected: Mapped[float | None] = mapped_column(Double)
    lower: Mapped[float | None] = mapped_column(Double)
    upper: Mapped[float | None] = mapped_column(Double)
    score: Mapped[float | None] = mapped_column(Double)


POINT_TABLES = ("number_points", "histogram_points", "detections")
"""Partitioned by day, as `LOG_TABLES`."""


# --- Rollups ----------------------------------------------------------------------------------------------


class _NumberRollup:
    """What the samples of a signal in the slice that ends at `ts` come to: increases of counters, values of levels.

    `change` in `seconds` is how much it moved, over those samples of which the time between is known.
    """

    signal: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    ts: Mapped[datetime] = mapped_column(db.timestamp(), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    sum: Mapped[float] = mapped_column(Double)
    min: Mapped[float] = mapped_column(Double)
    max: Mapped[float] = mapped_column(Double)
    last: Mapped[float] = mapped_column(Double)
    last_ts: Mapped[datetime] = mapped_column(db.timestamp())
    change: Mapped[float] = mapped_column(Double)
    seconds: Mapped[float] = mapped_column(Double)


class NumberRollupMinute(_NumberRollup, Base):
    __tablename__ = "number_rollups_1m"
    __table_args__ = {"postgresql_partition_by": "RANGE (ts)"}


class NumberRollupHour(_NumberRollup, Base):
    __tablename__ = "number_rollups_1h"
    __table_args__ = {"postgresql_partition_by": "RANGE (ts)"}


class _HistogramRollup:
    """The observations of a signal in the slice that ends at `ts`, of each layout of buckets: their counts added up.

    `change` observations came in `seconds`, as of numbers; `last_*` is what the latest point added.
    """

    signal: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    ts: Mapped[datetime] = mapped_column(db.timestamp(), primary_key=True)
    layout: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)
    sum: Mapped[float] = mapped_column(Double)
    change: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Double)
    last_ts: Mapped[datetime] = mapped_column(db.timestamp())
    last_count: Mapped[int] = mapped_column(BigInteger)
    last_sum: Mapped[float] = mapped_column(Double)
    position: Mapped[int] = mapped_column(Integer)
    zero_count: Mapped[int] = mapped_column(BigInteger)
    negative_position: Mapped[int] = mapped_column(Integer)
    counts: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    negative_counts: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))


class HistogramRollupMinute(_HistogramRollup, Base):
    __tablename__ = "histogram_rollups_1m"
    __table_args__ = {"postgresql_partition_by": "RANGE (ts)"}


class HistogramRollupHour(_HistogramRollup, Base):
    __tablename__ = "histogram_rollups_1h"
    __table_args__ = {"postgresql_partition_by": "RANGE (ts)"}


class _DetectionRollup:
    """What the detector said in the slice that ends at `ts`: sums of values and of expected ones with how many there
    were, the whole band, the worst score."""

    signal: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    ts: Mapped[datetime] = mapped_column(db.timestamp(), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    value: Mapped[float] = mapped_column(Double)
    expected_count: Mapped[int] = mapped_column(BigInteger)
    expected: Mapped[float | None] = mapped_column(Double)
    lower: Mapped[float | None] = mapped_column(Double)
    upper: Mapped[float | None] = mapped_column(Double)
    score: Mapped[float | None] = mapped_column(Double)


class DetectionRollupMinute(_DetectionRollup, Base):
    __tablename__ = "detection_rollups_1m"
    __table_args__ = {"postgresql_partition_by": "RANGE (ts)"}


class DetectionRollupHour(_DetectionRollup, Base):
    __tablename__ = "detection_rollups_1h"
    __table_args__ = {"postgresql_partition_by": "RANGE (ts)"}


MINUTE_TABLES = ("number_rollups_1m", "histogram_rollups_1m", "detection_rollups_1m")
HOUR_TABLES = ("number_rollups_1h", "histogram_rollups_1h", "detection_rollups_1h")


class RollupProgress(Base):
    """One row: all hours up to `rolled_to` are rolled up, and of the next one the signals up to `signal`."""

    __tablename__ = "rollup_progress"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    rolled_to: Mapped[datetime] = mapped_column(db.timestamp())
    signal: Mapped[int] = mapped_column(BigInteger)


class LateHour(Base):
    """An hour of a signal, named by its end, that got points so late that it may have been rolled up before.

    Rows only ever come and go, so that whoever stores late points waits for nobody.
    """

    __tablename__ = "late_hours"
    __table_args__ = (Index("ix_late_hours_hour_signal", "hour", "signal"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    signal: Mapped[int] = mapped_column(BigInteger)
    hour: Mapped[datetime] = mapped_column(db.timestamp())
    is_next: Mapped[bool] = mapped_column(Boolean, server_default=sa.false())
    """Whether it only holds the point that follows a late one, and whose increase is another now."""


class LateArrival(Base):
    """Points of some signals that were stored when their slices may have been judged already.

    Rows only ever come and go, so that whoever stores late points waits for nobody.
    """

    __tablename__ = "late_arrivals"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    oldest: Mapped[datetime] = mapped_column(db.timestamp())
    signals: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))


# --- Logs -------------------------------------------------------------------------------------------------


class LogStream(Base):
    """The logs of one service. `lines` counts all that were stored: the position of the newest."""

    __tablename__ = "log_streams"

    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    service: Mapped[str] = mapped_column(Text, unique=True)
    lines: Mapped[int] = mapped_column(BigInteger)
    first_seen: Mapped[datetime] = mapped_column(db.timestamp(), server_default=sa.func.now())


class LogLine(Base):
    """A log record as it came. Its position is the next one of its stream, in the order of the commits."""

    __tablename__ = "log_lines"
    __table_args__ = {"postgresql_partition_by": "RANGE (ts)"}

    stream: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    ts: Mapped[datetime] = mapped_column(db.timestamp(), primary_key=True)
    severity: Mapped[int] = mapped_column(SmallInteger)
    """OpenTelemetry's number; 0 where there is none."""
    body: Mapped[str] = mapped_column(Text)
    attributes: Mapped[dict[str, str]] = mapped_column(JSONB)


LOG_TABLES = ("log_lines",)


class LogExport(Base):
    """A request that was stored, so that the same one sent again is not stored twice."""

    __tablename__ = "log_exports"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    received_at: Mapped[datetime] = mapped_column(db.timestamp(), server_default=sa.func.now(), index=True)


class LogWatch(Base):
    """How far a stream of logs was mined and judged, so that a restart goes on where the last process stopped."""

    __tablename__ = "log_watches"

    stream: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger)
    asleep: Mapped[bool] = mapped_column(Boolean)
    """Whether nothing is to be judged before the next line comes."""
    miner: Mapped[bytes] = mapped_column(LargeBinary)
    watch: Mapped[bytes] = mapped_column(LargeBinary)
    pending: Mapped[bytes] = mapped_column(LargeBinary)
    """The intervals that are not judged yet."""


class LogTemplate(Base):
    """What the lines of one log statement have in common. `number` is the miner's id of it."""

    __tablename__ = "log_templates"
    __table_args__ = (
        UniqueConstraint("stream", "number"),
        Index("ix_log_templates_service_last_seen", "service", "last_seen"),
        Index("ix_log_templates_news", "stream", postgresql_where=sa.text("news")),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    stream: Mapped[int] = mapped_column(BigInteger)
    number: Mapped[int] = mapped_column(BigInteger)
    service: Mapped[str] = mapped_column(Text)
    template: Mapped[str] = mapped_column(Text)
    count: Mapped[int] = mapped_column(BigInteger)
    first_seen: Mapped[datetime] = mapped_column(db.timestamp())
    last_seen: Mapped[datetime] = mapped_column(db.timestamp())
    examples: Mapped[list[str]] = mapped_column(JSONB)
    revision: Mapped[int] = mapped_column(Integer)
    """How often it was told of."""
    told_count: Mapped[int] = mapped_column(BigInteger)
    news: Mapped[bool] = mapped_column(Boolean)
    """Whether it is to be told of, as it is new or has changed."""
    merged_into: Mapped[UUID | None] = mapped_column(Uuid)
    """The template that it turned out to be one with."""


class Deployment(Base):
    """That a version of a service began to serve."""

    __tablename__ = "deployments"
    __table_args__ = (
        UniqueConstraint("service", "external_id"),
        Index("ix_deployments_service_deployed_at", "service", sa.text("deployed_at DESC")),
        Index("ix_deployments_deployed_at", sa.text("deployed_at DESC"), sa.text("id DESC")),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    service: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)
    environment: Mapped[str | None] = mapped_column(Text)
    deployed_at: Mapped[datetime] = mapped_column(db.timestamp())
    url: Mapped[str | None] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    external_id: Mapped[str | None] = mapped_column(Text)
    recorded_at: Mapped[datetime] = mapped_column(db.timestamp())
    recorded_by: Mapped[str] = mapped_column(Text)


class DeploymentHook(Base):
    """Where deployments of a service are told by webhook, signed by the secret of this name."""

    __tablename__ = "deployment_hooks"
    __table_args__ = (Index("ix_deployment_hooks_service_id", "service", "id"),)

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    service: Mapped[str] = mapped_column(Text)
    format: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(Text)
    environments: Mapped[list[str]] = mapped_column(JSONB)
    github_event: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(db.timestamp())
    created_by: Mapped[str] = mapped_column(Text)
    last_delivery_at: Mapped[datetime | None] = mapped_column(db.timestamp())
    last_outcome: Mapped[str | None] = mapped_column(Text)


# --- What is watched --------------------------------------------------------------------------------------


class WatchedRequirement(Base):
    """The projection of a requirement; a deleted one stays as a mark that nothing older may overwrite."""

    __tablename__ = "watched_requirements"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    revision: Mapped[int] = mapped_column(Integer)
    """The one that is kept here: that in force, also while a later one is drafted."""
    head_revision: Mapped[int] = mapped_column(Integer)
    """The newest that was told of: an older one never overwrites it."""
    updated_at: Mapped[datetime] = mapped_column(db.timestamp())
    deleted: Mapped[bool] = mapped_column(Boolean, server_default=sa.false())
    in_force: Mapped[bool] = mapped_column(Boolean, index=True)
    key: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    owner_team: Mapped[str | None] = mapped_column(Text)
    service: Mapped[str | None] = mapped_column(Text)
    slos: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    budget_policy: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")


class BudgetAdjustment(Base):
    """The projection of an adjustment: when no error budget burns, and of which requirements."""

    __tablename__ = "budget_adjustments"
    __table_args__ = (
        Index("ix_budget_adjustments_requirement_ids", "requirement_ids", postgresql_using="gin"),
        Index("ix_budget_adjustments_service", "service"),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    revision: Mapped[int] = mapped_column(Integer)
    requirement_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    service: Mapped[str | None] = mapped_column(Text)
    team: Mapped[str | None] = mapped_column(Text)
    windows: Mapped[list[dict[str, str]]] = mapped_column(JSONB)


class TrackedObjective(Base):
    """How far an objective has been evaluated, and where it stands."""

    __tablename__ = "objectives"
    __table_args__ = (UniqueConstraint("requirement_id", "slo", "objective"),)

    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    requirement_id: Mapped[UUID] = mapped_column(Uuid)
    slo: Mapped[str] = mapped_column(Text)
    objective: Mapped[int] = mapped_column(SmallInteger)
    definition: Mapped[bytes] = mapped_column(LargeBinary)
    """A hash of what is counted: when it changes, counting starts anew."""
    evaluated_to: Mapped[datetime] = mapped_column(db.timestamp())
    last_point: Mapped[datetime | None] = mapped_column(db.timestamp())
    standing: Mapped[dict[str, Any]] = mapped_column(JSONB)


class ObjectiveSlice(Base):
    """Running totals up to and including the slice that ends at `ts`: the difference of two rows is any window.

    Slices without units have no row.
    """

    __tablename__ = "objective_slices"

    objective: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    ts: Mapped[datetime] = mapped_column(db.timestamp(), primary_key=True)
    good: Mapped[float] = mapped_column(Double)
    total: Mapped[float] = mapped_column(Double)


class Detector(Base):
    """The state of the detector of one indicator, so that a restart goes on where the last process stopped."""

    __tablename__ = "detectors"

    signal: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    requirement_id: Mapped[UUID] = mapped_column(Uuid, index=True)
    slo: Mapped[str] = mapped_column(Text)
    watching_since: Mapped[datetime] = mapped_column(db.timestamp())
    """From the history before it the detector only learns: what happened then is nobody's alarm now."""
    backfilled_from: Mapped[datetime | None] = mapped_column(db.timestamp())
    """From here on a backfill has judged the history before `watching_since`."""
    evaluated_to: Mapped[datetime] = mapped_column(db.timestamp())
    state: Mapped[bytes] = mapped_column(LargeBinary)
    alarm: Mapped[dict[str, Any]] = mapped_column(JSONB)


class DetectorRevision(Base):
    """The bar of an indicator's detector, each time that somebody set it: the highest revision holds. It outlives the
    detector's state."""

    __tablename__ = "detector_revisions"

    signal: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(Integer, primary_key=True)
    bar: Mapped[float] = mapped_column(Double)
    """The score at which it alarms."""
    reason: Mapped[str] = mapped_column(Text)
    effect: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """What it changes on the history that was stored then."""
    applied_at: Mapped[datetime] = mapped_column(db.timestamp())
    applied_by: Mapped[str] = mapped_column(Text)


class EvaluatorLease(Base):
    """One row: which process evaluates. The token grows with each new holder, so that a late one is noticed."""

    __tablename__ = "evaluator_lease"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    holder: Mapped[UUID] = mapped_column(Uuid)
    token: Mapped[int] = mapped_column(BigInteger)
    until: Mapped[datetime] = mapped_column(db.timestamp())


# --- Work that takes long --------------------------------------------------------------------------------


class Job(Base):
    """Work for the workers. `token` grows with each claim: who writes names it, and an older one writes nothing."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_queued", "id", postgresql_where=sa.text("state = 'queued'")),
        Index("ix_jobs_running", "heartbeat_at", postgresql_where=sa.text("state = 'running'")),
        Index("ix_jobs_state_id", "state", "id"),
        Index("ix_jobs_kind_id", "kind", "id"),
        Index("ix_jobs_finished_at", "finished_at"),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    service: Mapped[str | None] = mapped_column(Text)
    signal_id: Mapped[UUID | None] = mapped_column(Uuid)
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    progress: Mapped[float] = mapped_column(Double)
    message: Mapped[str] = mapped_column(Text)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    failure: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    attempts: Mapped[int] = mapped_column(Integer)
    token: Mapped[int] = mapped_column(BigInteger)
    worker: Mapped[str | None] = mapped_column(Text)
    heartbeat_at: Mapped[datetime | None] = mapped_column(db.timestamp())
    deadline_at: Mapped[datetime] = mapped_column(db.timestamp())
    trace: Mapped[dict[str, str]] = mapped_column(JSONB)
    """Of the request: the worker's spans continue it."""
    checkpoint: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    """Where the next step of the work goes on, for kinds that store what they find step by step."""
    created_at: Mapped[datetime] = mapped_column(db.timestamp())
    created_by: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime | None] = mapped_column(db.timestamp())
    finished_at: Mapped[datetime | None] = mapped_column(db.timestamp())
    revision: Mapped[int] = mapped_column(Integer)


# --- What is pulled ---------------------------------------------------------------------------------------


class PullSource(Base):
    """A Prometheus or CloudWatch that points are pulled from, how that goes, and which process does it.

    `token` grows with each new holder, so that a late one is noticed.
    """

    __tablename__ = "pull_sources"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    kind: Mapped[str] = mapped_column(Text)
    enabled: Mapped[bool] = mapped_column(Boolean)
    interval_seconds: Mapped[int] = mapped_column(Integer)
    backfill_seconds: Mapped[int] = mapped_column(Integer)
    spec: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Names secrets, and holds none."""
    revision: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(db.timestamp())
    created_by: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(db.timestamp())
    updated_by: Mapped[str] = mapped_column(Text)

    points: Mapped[int] = mapped_column(BigInteger, server_default="0")
    warnings: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    """What the last turn left out or was warned of."""
    last_success: Mapped[datetime | None] = mapped_column(db.timestamp())
    last_error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """Turns that failed since the last that did not."""
    failing_since: Mapped[datetime | None] = mapped_column(db.timestamp())
    next_try: Mapped[datetime | None] = mapped_column(db.timestamp())
    """Until then a failing source is left in peace."""

    holder: Mapped[UUID | None] = mapped_column(Uuid)
    token: Mapped[int] = mapped_column(BigInteger, server_default="0")
    until: Mapped[datetime | None] = mapped_column(db.timestamp())


class PullMark(Base):
    """How far a query of a source was pulled: all after `begins` up to `reached`, without the `gaps`."""

    __tablename__ = "pull_marks"

    source_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    query: Mapped[str] = mapped_column(Text, primary_key=True)
    begins: Mapped[int] = mapped_column(BigInteger)
    """Seconds since the Unix epoch, as `reached` and both ends of each gap."""
    reached: Mapped[int] = mapped_column(BigInteger)
    gaps: Mapped[list[list[int]]] = mapped_column(JSONB)


# --- What came of it --------------------------------------------------------------------------------------


class Anomaly(Base):
    __tablename__ = "anomalies"
    __table_args__ = (
        Index("ix_anomalies_onset", sa.text("onset DESC"), sa.text("id DESC")),
        Index("ix_anomalies_requirement_id_onset", "requirement_id", sa.text("onset DESC")),
        Index("ix_anomalies_labelled", "signal_id", "onset", postgresql_where=sa.text("label IS NOT NULL")),
        Index("ix_anomalies_open_log", "service", postgresql_where=sa.text('"end" IS NULL AND log IS NOT NULL')),
        Index("uq_anomalies_open", "signal_id", unique=True, postgresql_where=sa.text('"end" IS NULL')),
        Index(
            "ix_anomalies_ungrouped",
            "onset",
            "id",
            postgresql_where=sa.text("grouped_revision IS DISTINCT FROM revision AND backfill_job_id IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    signal_id: Mapped[UUID] = mapped_column(Uuid)
    metric: Mapped[str] = mapped_column(Text)
    aggregation: Mapped[str] = mapped_column(Text)
    unit: Mapped[str] = mapped_column(Text)
    service: Mapped[str | None] = mapped_column(Text, index=True)
    attributes: Mapped[dict[str, str]] = mapped_column(JSONB)
    requirement_id: Mapped[UUID | None] = mapped_column(Uuid)
    requirement_revision: Mapped[int | None] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(Text)
    direction: Mapped[str] = mapped_column(Text)
    onset: Mapped[datetime] = mapped_column(db.timestamp())
    end: Mapped[datetime | None] = mapped_column(db.timestamp())
    peak_at: Mapped[datetime] = mapped_column(db.timestamp())
    peak_score: Mapped[float] = mapped_column(Double)
    value: Mapped[float] = mapped_column(Double)
    expected: Mapped[float] = mapped_column(Double)
    lower: Mapped[float] = mapped_column(Double)
    upper: Mapped[float] = mapped_column(Double)
    title: Mapped[str] = mapped_column(Text)
    explanation: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    log: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    revision: Mapped[int] = mapped_column(Integer)
    acknowledged_at: Mapped[datetime | None] = mapped_column(db.timestamp())
    acknowledged_by: Mapped[str | None] = mapped_column(Text)
    label: Mapped[str | None] = mapped_column(Text)
    """The latest of its labels."""
    incident_id: Mapped[UUID | None] = mapped_column(Uuid, index=True)
    grouped_revision: Mapped[int | None] = mapped_column(Integer)
    """The revision that its incident knows of. Where it is another one, the anomaly is to be grouped (again)."""
    backfill_job_id: Mapped[UUID | None] = mapped_column(Uuid)
    """The job that found it in history: nobody was told of it, and no incident has it."""


class AnomalyLabel(Base):
    """What one person says of an anomaly."""

    __tablename__ = "anomaly_labels"

    anomaly_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    labelled_by: Mapped[str] = mapped_column(Text, primary_key=True)
    label: Mapped[str] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text)
    labelled_at: Mapped[datetime] = mapped_column(db.timestamp())


class Incident(Base):
    """Anomalies that belong together, with what is told of them: see `IncidentSnapshot`."""

    __tablename__ = "incidents"
    __table_args__ = (
        Index("ix_incidents_onset", sa.text("onset DESC"), sa.text("id DESC")),
        Index("ix_incidents_services", "services", postgresql_using="gin"),
        Index("ix_incidents_requirement_ids", "requirement_ids", postgresql_using="gin"),
        Index(
            "ix_incidents_quiet_since",
            "quiet_since",
            postgresql_where=sa.text("state IN ('open', 'acknowledged')"),
        ),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    revision: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    services: Mapped[list[str]] = mapped_column(ARRAY(Text))
    requirement_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    onset: Mapped[datetime] = mapped_column(db.timestamp())
    quiet_since: Mapped[datetime | None] = mapped_column(db.timestamp())
    anomaly_count: Mapped[int] = mapped_column(Integer)
    anomalies: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    origins: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    comments: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    opened_at: Mapped[datetime] = mapped_column(db.timestamp())
    acknowledged_at: Mapped[datetime | None] = mapped_column(db.timestamp())
    acknowledged_by: Mapped[str | None] = mapped_column(Text)
    resolved_at: Mapped[datetime | None] = mapped_column(db.timestamp())
    resolved_by: Mapped[str | None] = mapped_column(Text)
    merged_into: Mapped[UUID | None] = mapped_column(Uuid, index=True)
    split_from: Mapped[UUID | None] = mapped_column(Uuid)
    apart: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    """The incidents that a person set apart from it: nothing but a person joins them again."""


class IncidentEntry(Base):
    """What happened to an incident itself. What else its timeline shows stands in the tables of that."""

    __tablename__ = "incident_entries"
    __table_args__ = (Index("ix_incident_entries_incident_id_at", "incident_id", "at"),)

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    incident_id: Mapped[UUID] = mapped_column(Uuid)
    at: Mapped[datetime] = mapped_column(db.timestamp())
    kind: Mapped[str] = mapped_column(Text)
    actor: Mapped[str | None] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    other_id: Mapped[UUID | None] = mapped_column(Uuid)
    """The incident that it was merged with or split from."""


class ServiceEdge(Base):
    """That one service calls another, as spans and metrics tell."""

    __tablename__ = "service_edges"
    __table_args__ = (Index("ix_service_edges_last_seen", "last_seen"),)

    caller: Mapped[str] = mapped_column(Text, primary_key=True)
    callee: Mapped[str] = mapped_column(Text, primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    first_seen: Mapped[datetime] = mapped_column(db.timestamp())
    last_seen: Mapped[datetime] = mapped_column(db.timestamp())


class VerdictRecord(Base):
    """Each change of a requirement's verdict, with its evidence at that moment."""

    __tablename__ = "verdicts"
    __table_args__ = (Index("ix_verdicts_requirement_id_changed_at", "requirement_id", sa.text("changed_at DESC")),)

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    requirement_id: Mapped[UUID] = mapped_column(Uuid)
    revision: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[datetime] = mapped_column(db.timestamp())
    verdict: Mapped[dict[str, Any]] = mapped_column(JSONB)


class CurrentVerdict(Base):
    """The latest verdict of each requirement in force, with the evidence of the latest evaluation."""

    __tablename__ = "current_verdicts"

    requirement_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    revision: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[datetime] = mapped_column(db.timestamp())
    evaluated_at: Mapped[datetime] = mapped_column(db.timestamp())
    verdict: Mapped[dict[str, Any]] = mapped_column(JSONB)


# --- Notifications --------------------------------------------------------------------------------------


class NotificationTarget(Base):
    """Whom to tell, as people configured it. Where Plumbline itself disabled it, `disabled_reason` says why."""

    __tablename__ = "notification_targets"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    enabled: Mapped[bool] = mapped_column(Boolean)
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)
    revision: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(db.timestamp())
    created_by: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(db.timestamp())
    updated_by: Mapped[str] = mapped_column(Text)


def _of_target() -> Mapped[UUID]:
    return mapped_column(ForeignKey("notification_targets.id", ondelete="CASCADE"), primary_key=True)


class NotificationAlert(Base):
    """An alert as one target knows it: what goes on, and what is over and still to be told of."""

    __tablename__ = "notification_alerts"
    __table_args__ = (
        Index("ix_notification_alerts_target_id_group_key", "target_id", "group_key"),
        Index("ix_notification_alerts_fingerprint", "fingerprint"),
    )

    target_id: Mapped[UUID] = _of_target()
    fingerprint: Mapped[str] = mapped_column(Text, primary_key=True)
    group_key: Mapped[str] = mapped_column(Text)
    requirement_id: Mapped[UUID | None] = mapped_column(Uuid)
    """Whose end ends it."""
    alert: Mapped[dict[str, Any]] = mapped_column(JSONB)
    firing: Mapped[bool] = mapped_column(Boolean)
    version: Mapped[int] = mapped_column(Integer)
    """Grows with each news of it."""
    told_version: Mapped[int] = mapped_column(Integer)
    told_firing: Mapped[bool] = mapped_column(Boolean)
    silenced: Mapped[bool] = mapped_column(Boolean)
    """When its group was last looked at."""
    changed_at: Mapped[datetime] = mapped_column(db.timestamp())


class NotificationGroup(Base):
    """Alerts that one target is told of together."""

    __tablename__ = "notification_groups"
    __table_args__ = (Index("ix_notification_groups_flush_at", "flush_at"),)

    target_id: Mapped[UUID] = _of_target()
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    labels: Mapped[dict[str, str]] = mapped_column(JSONB)
    flush_at: Mapped[datetime | None] = mapped_column(db.timestamp())
    """When it is looked at next."""
    told_at: Mapped[datetime | None] = mapped_column(db.timestamp())


class NotificationDelivery(Base):
    """A message, the same bytes in each try, and how it fared. Its id is the `webhook-id`."""

    __tablename__ = "notification_deliveries"
    __table_args__ = (
        Index("ix_notification_deliveries_target_id_id", "target_id", sa.text("id DESC")),
        Index(
            "ix_notification_deliveries_pending",
            "target_id",
            "group_key",
            postgresql_where=sa.text("state = 'pending'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    target_id: Mapped[UUID] = mapped_column(ForeignKey("notification_targets.id", ondelete="CASCADE"))
    group_key: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    alerts: Mapped[int] = mapped_column(Integer)
    attempts: Mapped[int] = mapped_column(Integer)
    next_try: Mapped[datetime | None] = mapped_column(db.timestamp())
    leased_until: Mapped[datetime | None] = mapped_column(db.timestamp())
    """A process tries it, and until then nobody else does."""
    expires_at: Mapped[datetime] = mapped_column(db.timestamp())
    last_status: Mapped[int | None] = mapped_column(Integer)
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(db.timestamp())
    ended_at: Mapped[datetime | None] = mapped_column(db.timestamp())


class NotificationCursor(Base):
    """One row: the position in the log of events up to which alerts are made of them."""

    __tablename__ = "notification_cursor"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger)


class Silence(Base):
    """What nobody is to be told of for a while, and why."""

    __tablename__ = "silences"
    __table_args__ = (Index("ix_silences_ends_at", "ends_at"),)

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    matchers: Mapped[dict[str, Any]] = mapped_column(JSONB)
    starts_at: Mapped[datetime] = mapped_column(db.timestamp())
    ends_at: Mapped[datetime] = mapped_column(db.timestamp())
    comment: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(db.timestamp())
    created_by: Mapped[str] = mapped_column(Text)
