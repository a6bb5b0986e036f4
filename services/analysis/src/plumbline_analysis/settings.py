"""What the analysis service is told by its environment."""

import re
from typing import Annotated

from pydantic import AfterValidator, DirectoryPath, Field
from pydantic_settings import SettingsConfigDict

from plumbline_common.settings import Hosts, ServiceSettings

SECRETS = "PLUMBLINE_ANALYSIS_SECRET_"
"""What the names of environment variables begin with that hold a secret."""


def _external_url(said: str) -> str:
    if said and not re.fullmatch(r"https?://[^\s]+[^\s/]", said):
        raise ValueError("must be http://… or https://…, without a slash at its end")
    return said


_Seconds = Annotated[float, Field(gt=0)]


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PLUMBLINE_ANALYSIS_")

    telemetry_limit_bytes: Annotated[int, Field(ge=1)] = 8 * 1024 * 1024
    """The largest body of a telemetry request, as it is sent."""
    decompressed_limit_bytes: Annotated[int, Field(ge=1)] = 16 * 1024 * 1024
    """The same, unpacked."""
    past_limit_hours: Annotated[float, Field(gt=0, le=24 * 30)] = 48
    """How old a point or a line may be that is sent as it is measured."""
    future_limit_minutes: Annotated[float, Field(gt=0, le=24 * 60)] = 10
    """Points and deployments further ahead are refused."""
    retention_days: Annotated[int, Field(ge=1)] = 35
    """How long points are kept as they came; rollups of them for longer."""
    minute_retention_days: Annotated[int, Field(ge=1)] = 90
    """Of rollups of a minute."""
    hour_retention_days: Annotated[int, Field(ge=1)] = 730
    """Of rollups of an hour."""

    series_per_metric_limit: Annotated[int, Field(ge=1)] = 10_000
    """The series that one metric of one service may have. Points of further series are refused."""
    series_per_service_limit: Annotated[int, Field(ge=1)] = 100_000
    """The series of all metrics of one service."""
    services_limit: Annotated[int, Field(ge=1)] = 1_000
    """The services that may send points."""
    points_per_minute_limit: Annotated[int, Field(ge=1)] = 3_000_000
    """The points that a service may send in a minute, counted by each process."""

    evaluation_interval_seconds: Annotated[int, Field(ge=1, le=3600)] = 10
    """How often requirements are evaluated, and the length of the slices that they are judged in."""
    settle_seconds: Annotated[float, Field(ge=0)] = 5
    """How long after its end a slice is first evaluated: the time that telemetry takes to arrive."""
    late_points_seconds: Annotated[float, Field(ge=0)] = 3600
    """Points that come this late still count: the slices they belong to are judged again."""
    lateness_seconds: Annotated[float, Field(ge=0)] = 60
    """Lines of logs that come this late still count; and the slices this far back are judged again by a process that
    takes over the evaluation."""
    backfill_seconds: Annotated[float, Field(ge=0, le=30 * 86_400)] = 3600
    """How much stored history a new objective takes in, at most its own window."""
    stale_seconds: _Seconds = 300
    """Without a point for this long, an objective has no data; and so long its detector waits for points that come
    late."""
    minimum_events: Annotated[int, Field(ge=1)] = 10
    """With fewer events in its window, an objective has no data."""
    minimum_slices: Annotated[int, Field(ge=1)] = 3
    """With fewer slices in its window, an objective has no data."""
    hold_evaluations: Annotated[int, Field(ge=1)] = 3
    """A recovery must hold for this many evaluations."""
    short_floor_seconds: _Seconds = 60
    """The short burn-rate windows scale with the SLO's window, but not below this."""
    long_floor_seconds: _Seconds = 300
    """The long burn-rate windows likewise."""
    quantile_observations: Annotated[int, Field(ge=1)] = 5
    """A slice with fewer observations has no quantile."""
    deployment_window_seconds: _Seconds = 3600
    """How long before an anomaly a deployment may lie that has to do with it."""

    job_attempts: Annotated[int, Field(ge=1)] = 3
    """So many workers may be lost over one job before it fails."""
    job_heartbeat_seconds: _Seconds = 1
    """How often a worker says that it still has a job, and asks whether it is still its own."""
    job_stale_seconds: _Seconds = 15
    """Without a sign of its worker for this long, a job is another's."""
    job_poll_seconds: _Seconds = 2
    """How often an idle worker looks for jobs that nobody called it for."""
    job_retention_days: Annotated[int, Field(ge=1)] = 30
    """How long a job that is over can be read."""
    job_stream_limit: Annotated[int, Field(ge=1)] = 200
    """So many streams of jobs a process has open at the most."""
    job_points: Annotated[int, Field(ge=1)] = 2_000_000
    """A job reads so many points at the most: they lie in the memory of a worker."""

    log_retention_days: Annotated[int, Field(ge=1)] = 3
    """How long log lines are kept."""
    log_interval_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    """The logs of a service are judged interval by interval; they settle and come late as points do."""

    pull_allowed: Hosts = ()
    """Names (`*.example.org` for all below), addresses and networks that sources may be at. Empty: any but those of
    this machine. Link-local, metadata, multicast and reserved addresses are refused in any case."""
    pulls_at_once: Annotated[int, Field(ge=1, le=200)] = 16
    """Requests to sources that are under way at the same time."""
    pull_limit_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    """The largest answer of a source, packed and unpacked; a longer range is asked for in parts. To parse a MiB keeps
    the interpreter's lock for some 20 ms."""
    secrets_folder: Annotated[DirectoryPath | None, Field(examples=["/run/secrets/plumbline"])] = None
    """Where the secrets lie that sources, notification targets and deployment hooks name, a file each."""

    incident_interval_seconds: Annotated[int, Field(ge=1, le=3600)] = 5
    """How often anomalies are grouped to incidents."""
    incident_window_seconds: _Seconds = 300
    """An anomaly joins an incident when it begins within this time of a related one that is over."""
    incident_calm_seconds: _Seconds = 600
    """An incident is resolved when all its anomalies have been over for so long."""
    incident_cooling_seconds: _Seconds = 1800
    """So long after that it is opened again, rather than a new one, if the same signal departs again."""
    graph_retention_days: Annotated[int, Field(ge=1)] = 7
    """A call from one service to another that was not seen for so long is forgotten."""

    notification_allowed: Hosts = ()
    """Names (`*.example.org` for all below), addresses and networks that notifications may go to. Empty: any but
    those of this machine. Link-local, metadata, multicast and reserved addresses are refused in any case."""
    notifications_at_once: Annotated[int, Field(ge=1, le=200)] = 32
    """Messages that this process delivers at the same time."""
    external_url: Annotated[str, AfterValidator(_external_url), Field(examples=["https://plumbline.example.org"])] = (
        ""
    )
    """Where people reach the gateway: what links in notifications and the URLs of deployment hooks begin with."""
