from datetime import UTC, datetime, timedelta
from typing import Any

from plumbline_analysis.deployments import repository
from plumbline_common import db

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def add(sessions: db.Sessions, version: str, before: timedelta, service: str = "checkout") -> None:
    members: dict[str, Any] = dict.fromkeys(("environment", "url", "external_id"))
    async with sessions.begin() as session:
        await repository.add(
            session,
            id=db.new_id(),
            service=service,
            version=version,
            deployed_at=NOON - before,
            description="",
            recorded_at=NOON,
            recorded_by="pipeline",
            **members,
        )


async def versions(sessions: db.Sessions, *services: str) -> list[str]:
    async with sessions() as session:
        return [each.version for each in await repository.before(session, services, NOON, HOUR)]


async def test_what_was_deployed_before_a_moment_comes_nearest_first(sessions: db.Sessions) -> None:
    await add(sessions, "an hour before", HOUR)
    await add(sessions, "at the moment", timedelta())
    await add(sessions, "minutes before", timedelta(minutes=5))
    await add(sessions, "too early", HOUR + timedelta(microseconds=1))
    await add(sessions, "after it", timedelta(microseconds=-1))
    await add(sessions, "another service", timedelta(minutes=1), service="cart")
    assert await versions(sessions, "checkout") == ["at the moment", "minutes before", "an hour before"]
    assert await versions(sessions, "cart", "checkout") == [
        "at the moment", "another service", "minutes before", "an hour before",
    ]  # fmt: skip
    assert await versions(sessions) == []


async def test_of_many_deployments_the_nearest_are_told(sessions: db.Sessions) -> None:
    for minute in range(repository.MOST_BEFORE + 5):
        await add(sessions, str(minute), timedelta(minutes=minute))
    assert await versions(sessions, "checkout") == [str(minute) for minute in range(repository.MOST_BEFORE)]
