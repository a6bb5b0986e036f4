"""Wiring of the analysis service: `uvicorn plumbline_analysis.main:create_app --factory`."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from fastapi import FastAPI

from plumbline_analysis import background
from plumbline_analysis.anomalies.router import router as anomalies
from plumbline_analysis.backfills.router import router as backfills
from plumbline_analysis.backtests.router import router as backtests
from plumbline_analysis.consumer import CONSUMES, subscription
from plumbline_analysis.deployment_hooks.router import router as deployment_hooks
from plumbline_analysis.deployments.router import router as deployments
from plumbline_analysis.detectors.router import router as detectors
from plumbline_analysis.graph.router import router as graph
from plumbline_analysis.graph.service import Learner
from plumbline_analysis.groups.router import router as groups
from plumbline_analysis.incidents.router import router as incidents
from plumbline_analysis.jobs.following import Following
from plumbline_analysis.jobs.router import router as jobs
from plumbline_analysis.lines.router import router as lines
from plumbline_analysis.log_mining.router import router as log_mining
from plumbline_analysis.notifications.router import router as notifications
from plumbline_analysis.notifications.router import silences
from plumbline_analysis.notifications.sending import Sender
from plumbline_analysis.notifier import Notifier
from plumbline_analysis.plots.router import router as plots
from plumbline_analysis.points.directory import Directory
from plumbline_analysis.points.limits import Limits
from plumbline_analysis.points.router import router as points
from plumbline_analysis.puller import Puller
from plumbline_analysis.pulls.asking import Asker
from plumbline_analysis.pulls.router import router as pulls
from plumbline_analysis.retunes.router import router as retunes
from plumbline_analysis.settings import SECRETS, Settings
from plumbline_analysis.signals.router import router as signals
from plumbline_analysis.templates.router import router as templates
from plumbline_analysis.uploads.router import BODY_LIMITS
from plumbline_analysis.uploads.router import router as uploads
from plumbline_analysis.verdicts.router import router as verdicts
from plumbline_analysis.what_if.router import router as what_if
from plumbline_common import idempotency, offload, web
from plumbline_common.secret_store import SecretStore

TELEMETRY = (
    "/v1/metrics",
    "/v1/logs",
    "/v1/traces",
    "/api/v1/write",
    "/api/v1/telemetry/points",
    "/api/v1/telemetry/logs",
)


@contextlib.asynccontextmanager
async def resources(app: FastAPI) -> AsyncIterator[None]:
    state = app.state
    # Half of the time until slices are judged is left for the clocks of processes to lie apart.
    state.directory = Directory(Limits.of(state.settings), timedelta(seconds=state.settings.settle_seconds / 2))
    state.following = following = Following(state.read_sessions, state.settings.job_stream_limit)
    state.asker = Asker(state.settings)
    state.secrets = SecretStore(state.settings.secrets_folder, SECRETS)
    puller = Puller(state.sessions, state.read_sessions, state.settings, state.directory, state.asker)
    state.learner = Learner()
    state.sender = await offload.in_thread(Sender, state.settings)
    notifier = Notifier(state.sessions, state.settings, state.sender)
    async with (
        contextlib.aclosing(state.sender),
        web.background("forgetter of idempotency keys", lambda: idempotency.keep_forgetting(state.sessions)),
        web.background("reader of the streams of jobs", following.read),
        web.background("end of the streams of jobs", following.end_at_shutdown, forever=False),
        background.running(state.sessions, state.read_sessions, state.settings, state.learner) as maintenance,
        web.background("pulling of sources", puller.run),
        web.background("notifications", notifier.run),
    ):
        state.checks["partitions"] = maintenance.check
        yield


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or Settings.from_environment()
    return web.create_app(
        "analysis",
        settings,
        routers=[
            points,
            uploads,
            lines,
            graph,
            signals,
            groups,
            detectors,
            backfills,
            backtests,
            retunes,
            what_if,
            log_mining,
            jobs,
            deployments,
            deployment_hooks,
            anomalies,
            incidents,
            notifications,
            silences,
            plots,
            pulls,
            templates,
            verdicts,
        ],
        subscription=lambda app: subscription(app.state.sessions),
        consumes=CONSUMES,
        resources=resources,
        body_limits=BODY_LIMITS | dict.fromkeys(TELEMETRY, settings.telemetry_limit_bytes),
    )
