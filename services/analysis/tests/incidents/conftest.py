from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from plumbline_analysis.evaluator import Evaluator
from plumbline_analysis.graph import repository as graph
from plumbline_analysis.graph.rules import Edge
from plumbline_analysis.incident_keeper import IncidentKeeper
from plumbline_analysis.models import Anomaly, Deployment, Incident
from plumbline_analysis.settings import Settings
from plumbline_common import db


class Shop:
    """Services whose anomalies a test makes up, the clock of their day, and the keeper that groups them."""

    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)

    def __init__(self, sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings) -> None:
        self.sessions, self.settings, self.now = sessions, settings, self.start
        self.leader = Evaluator(sessions, read_sessions, settings, lambda: self.now)
        self.keeper = IncidentKeeper(sessions, settings, self.leader.holder, self.leader.claim, lambda: self.now)

    def at(self, minutes: float) -> datetime:
        return self.start + timedelta(minutes=minutes)

    async def depart(
        self, service: str | None, minute: float, end: float | None = None, signal: int = 0, **members: Any
    ) -> UUID:
        """An anomaly of a service from one minute to another; without a `signal` it is of one of its own."""
        id = db.new_id()
        given: dict[str, Any] = {
            "id": id,
            "signal_id": UUID(int=signal) if signal else uuid4(),
            "metric": "http.server.request.duration",
            "aggregation": "p95",
            "unit": "s",
            "service": service,
            "attributes": {},
            "state": "open" if end is None else "resolved",
            "severity": "warning",
            "direction": "up",
            "onset": self.at(minute),
            "end": None if end is None else self.at(end),
            "peak_at": self.at(minute),
            "peak_score": 2.0,
            "value": 0.6,
            "expected": 0.02,
            "lower": 0.01,
            "upper": 0.05,
            "title": f"Latency of {service} rose to 612 ms; expected 20 ms (10 ms–50 ms)",
            "revision": 1,
        }
        async with self.sessions.begin() as session:
            session.add(Anomaly(**given | members))
        return id

    async def change(self, anomaly: UUID, **members: Any) -> None:
        """As an evaluation or a person does it."""
        async with self.sessions.begin() as session:
            values = members | {"revision": Anomaly.revision + 1}
            await session.execute(update(Anomaly).where(Anomaly.id == anomaly).values(**values))

    async def end(self, anomaly: UUID, minute: float) -> None:
        await self.change(anomaly, end=self.at(minute), state="resolved")

    async def calls(self, *edges: tuple[str, str]) -> None:
        async with self.sessions.begin() as session:
            await graph.add(session, Counter(Edge(*each) for each in edges), self.now)

    async def deploy(self, service: str, version: str, minute: float) -> None:
        async with self.sessions.begin() as session:
            session.add(
                Deployment(
                    id=db.new_id(),
                    service=service,
                    version=version,
                    deployed_at=self.at(minute),
                    description="",
                    recorded_at=self.at(minute),
                    recorded_by="pipeline",
                )
            )

    async def pass_to(self, minute: float) -> None:
        """Let the keeper look at a minute."""
        self.now = self.at(minute)
        await self.keeper.round()

    async def incidents(self) -> list[Incident]:
        """All that are no part of another, the first first."""
        async with self.sessions() as session:
            rows = select(Incident).where(Incident.state != "merged").order_by(Incident.onset, Incident.id)
            return list((await session.scalars(rows)).all())

    async def incident(self) -> Incident:
        """The only one."""
        (found,) = await self.incidents()
        return found


@pytest.fixture
def shop(sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings) -> Shop:
    return Shop(sessions, read_sessions, settings)
