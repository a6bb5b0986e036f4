"""From the log of events to a receiver, by a clock that the test turns."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

import webhook_receiver
from plumbline_analysis.models import NotificationDelivery, NotificationTarget, WatchedRequirement
from plumbline_analysis.notifications import service
from plumbline_analysis.notifications.schemas import SilenceContent, TargetContent
from plumbline_analysis.notifications.sending import Sender
from plumbline_analysis.notifier import LEASE, Notifier
from plumbline_analysis.settings import Settings
from plumbline_common import db, outbox
from plumbline_common.auth import UserInfo
from plumbline_common.events import (
    Event,
    IncidentClosed,
    IncidentOpened,
    IncidentUpdated,
    ObjectiveBurning,
    ObjectiveExhausted,
    ObjectiveRecovered,
)
from plumbline_common.schemas import IncidentSnapshot
from webhook_receiver import Receiver, answer

SRE = UserInfo(subject="sre", roles=frozenset({"operator"}), teams=frozenset())
POLICY = {
    "kind": "AlertPolicy",
    "metadata": {"name": "fast"},
    "spec": {"notificationTargets": [{"targetRef": "pager"}]},
}


_PRODUCER = text("INSERT INTO outbox_producer (name) VALUES ('analysis') ON CONFLICT DO NOTHING")


class Day:
    """The clock, a notifier, and two requirements of a shop whose objectives burn when the test says so."""

    orders, carts = UUID(int=1), UUID(int=2)

    def __init__(self, sessions: db.Sessions, settings: Settings, sender: Sender, url: str) -> None:
        self.sessions, self.settings, self.sender, self.url = sessions, settings, sender, url
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.notifier = self.another()

    def another(self) -> Notifier:
        return Notifier(self.sessions, self.settings, self.sender, lambda: self.now, lambda: 1.0)

    async def begin(self) -> None:
        async with self.sessions.begin() as session:
            for id, key, service_name in ((self.orders, "REQ-1", "shop"), (self.carts, "REQ-2", "cart")):
                policies = [POLICY] if id == self.orders else []
                session.add(
                    WatchedRequirement(
                        id=id,
                        revision=1,
                        head_revision=1,
                        updated_at=self.now,
                        in_force=True,
                        key=key,
                        title="Orders are quick",
                        owner_team="web",
                        service=service_name,
                        slos=[{"name": "latency", "alertPolicies": policies}],
                    )
                )
        await self.notifier.round()

    async def target(self, name: str = "chat", path: str = "/chat", **members: Any) -> UUID:
        content = TargetContent(**{"name": name, "url": self.url + path} | members)
        async with self.sessions.begin() as session:
            return (await service.create(session, content, SRE, self.sender.targets)).id

    async def silence(self, minutes: float, **matchers: Any) -> UUID:
        ends_at = self.now + timedelta(minutes=minutes)
        given = {"matchers": matchers, "starts_at": self.now, "ends_at": ends_at, "comment": "we know"}
        async with self.sessions.begin() as session:
            return (await service.silence(session, SilenceContent.model_validate(given), SRE)).id

    async def tell(self, *events: Event) -> None:
        """Let the log hold them, as the relay does."""
        async with self.sessions.begin() as session:
            for event in events:
                await outbox.stage(session, event)
        while True:
            async with self.sessions.begin() as session:
                await session.execute(_PRODUCER)
                await outbox.sequence_late(session, "analysis", late=0)
                waiting = await session.scalar(text("SELECT count(*) FROM outbox WHERE position IS NULL"))
            if not waiting:
                break
            await asyncio.sleep(0.01)  # a relay that runs is about to

    async def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        await self.notifier.round()
        await self.notifier.settled()

    def burning(self, id: UUID | None = None, objective: int = 0) -> ObjectiveBurning:
        return ObjectiveBurning(**self._about(id, objective))

    def exhausted(self, id: UUID | None = None) -> ObjectiveExhausted:
        return ObjectiveExhausted(**self._about(id, 0))

    def recovered(self, id: UUID | None = None, objective: int = 0) -> ObjectiveRecovered:
        return ObjectiveRecovered(**self._about(id, objective))

    def incident(self, **members: Any) -> IncidentSnapshot:
        given: dict[str, Any] = {"id": UUID(int=9), "revision": 1, "state": "open", "severity": "critical"}
        given |= {"title": "Latency rose", "services": ["shop"], "requirement_ids": [], "anomalies": []}
        given |= {"onset": self.now, "opened_at": self.now, "quiet_since": None, "anomaly_count": 1}
        return IncidentSnapshot.model_validate(given | {"origins": [], "comments": []} | members)

    def _about(self, id: UUID | None, objective: int) -> dict[str, Any]:
        given = {"requirement_id": id or self.orders, "requirement_revision": 1, "slo": "latency"}
        return given | {"objective": objective, "burn_rate": 15.0, "budget_remaining": 0.5, "at": self.now}

    async def deliveries(self) -> list[NotificationDelivery]:
        async with self.sessions() as session:
            return list(await session.scalars(select(NotificationDelivery).order_by(NotificationDelivery.id)))


@pytest.fixture
async def day(sessions: db.Sessions, settings: Settings, receiver: Receiver) -> AsyncIterator[Day]:
    sender = Sender(settings)
    day = Day(sessions, settings, sender, receiver.url)
    await day.begin()
    yield day
    await sender.aclose()


def statuses(message: webhook_receiver.Message) -> list[str]:
    return [each["status"] for each in message.json["data"]["alerts"]]


async def test_what_comes_within_the_wait_is_one_message_that_is_repeated_and_ended(
    day: Day, receiver: Receiver
) -> None:
    await day.target()
    await day.tell(day.burning())
    await day.pass_time(0)
    await day.tell(day.burning(objective=1), day.burning())
    await day.pass_time(29)
    assert receiver.messages == []
    await day.pass_time(1)
    assert [statuses(each) for each in receiver.messages] == [["firing", "firing"]]
    assert receiver.messages[0].json["data"]["group"] == {"service": "shop"}
    await day.pass_time(3600)
    assert len(receiver.messages) == 1
    await day.pass_time(3 * 3600)
    assert [statuses(each) for each in receiver.messages[1:]] == [["firing", "firing"]], "it is repeated"
    await day.tell(day.recovered())
    await day.pass_time(300)
    assert statuses(receiver.messages[2]) == ["firing", "resolved"]
    await day.tell(day.recovered(objective=1))
    await day.pass_time(0)
    assert len(receiver.messages) == 3, "the group's interval is not over"
    await day.pass_time(300)
    await day.pass_time(86_400)
    assert [statuses(each) for each in receiver.messages[3:]] == [["resolved"]]


async def test_an_incident_that_grows_graver_reaches_the_pager_and_a_word_after_its_end_nobody(
    day: Day, receiver: Receiver
) -> None:
    await day.target("pager", "/pager", severities=["critical"], group_wait_seconds=0, group_interval_seconds=1)
    await day.target("chat", "/chat", events=["incident.updated", "incident.closed"], group_wait_seconds=0)
    warning, grave = day.incident(severity="warning"), day.incident()
    await day.tell(IncidentOpened(incident=warning), IncidentUpdated(incident=grave, change="anomalies"))
    await day.pass_time(1)
    over = day.incident(state="resolved", resolved_at=day.now)
    await day.tell(IncidentClosed(incident=over), IncidentUpdated(incident=over, change="commented"))
    await day.pass_time(300)
    await day.tell(IncidentUpdated(incident=over, change="commented"))
    await day.pass_time(86_400)
    for path in ("/pager", "/chat"):
        assert [statuses(each) for each in receiver.of(path)] == [["firing"], ["resolved"]]


async def test_groups_are_told_apart_and_targets_by_what_they_ask_for(day: Day, receiver: Receiver) -> None:
    await day.target("carts", "/carts", services=["cart"], group_wait_seconds=0)
    await day.target("pager", "/pager", only_named=True, format="alertmanager", group_wait_seconds=0)
    await day.target("all", "/all", group_wait_seconds=0)
    await day.tell(day.burning(), day.burning(day.carts))
    await day.pass_time(0)
    assert len(receiver.of("/all")) == 2
    assert [each.json["data"]["group"] for each in receiver.of("/carts")] == [{"service": "cart"}]
    (paged,) = receiver.of("/pager")
    assert paged.json["version"] == "4"
    assert [each["labels"]["requirement"] for each in paged.json["alerts"]] == ["REQ-1"]


async def test_a_failed_message_is_tried_again_later_under_the_same_id(day: Day, receiver: Receiver) -> None:
    await day.target(group_wait_seconds=0)
    receiver.once += [answer("500 Oops"), webhook_receiver.half, answer("429 Slow Down", retry_after="60")]
    await day.tell(day.burning())
    for seconds, tries in ((0, 1), (4, 1), (1, 2), (9, 2), (1, 3), (59, 3), (1, 4), (3600, 4)):
        await day.pass_time(seconds)
        assert len(receiver.messages) == tries
    assert len({each.headers["webhook-id"] for each in receiver.messages}) == 1
    assert len({each.body for each in receiver.messages}) == 1
    assert len({each.headers["webhook-timestamp"] for each in receiver.messages}) == 4
    (delivery,) = await day.deliveries()
    assert (delivery.state, delivery.attempts, delivery.last_status) == ("delivered", 4, 204)
    assert delivery.last_error is None


async def test_news_gathers_while_a_receiver_is_away(day: Day, receiver: Receiver) -> None:
    await day.target(group_wait_seconds=0, group_interval_seconds=1, repeat_interval_seconds=60)
    receiver.usual = answer("503 Service Unavailable")
    await day.tell(day.burning())
    await day.pass_time(0)
    for _ in range(5):
        await day.tell(day.exhausted(), day.burning(objective=1))
        await day.pass_time(7200)
    assert len(await day.deliveries()) == 1
    receiver.usual, heard = answer(), len(receiver.messages)
    await day.pass_time(7200)
    await day.pass_time(1)
    first, second = receiver.messages[heard:]
    assert (statuses(first), statuses(second)) == (["firing"], ["firing", "firing"])


async def test_whoever_ends_between_sending_and_noting_sends_it_again_under_the_same_id(
    day: Day, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await day.target(group_wait_seconds=0)
    await day.tell(day.burning())

    async def end(*_: Any) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(day.notifier, "_note", end)
        await day.pass_time(0)
    day.notifier = day.another()
    await day.pass_time(1)
    assert len(receiver.messages) == 1, "the lease of the one that ended holds"
    await day.pass_time(LEASE.total_seconds())
    first, second = receiver.messages
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [each.state for each in await day.deliveries()] == ["delivered"]


async def test_what_nobody_foresaw_is_tried_again_as_any_failure(
    day: Day, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await day.target(group_wait_seconds=0)
    await day.tell(day.burning())
    with monkeypatch.context() as patch:
        patch.setattr(day.sender, "send", lambda *_: 1 / 0)
        await day.pass_time(0)
    (delivery,) = await day.deliveries()
    assert (delivery.state, delivery.last_error) == ("pending", "it could not be sent: see the log of the service")
    await day.pass_time(5)
    assert len(receiver.messages) == 1


async def test_a_message_that_nobody_takes_for_a_day_is_dead(day: Day, receiver: Receiver) -> None:
    await day.target(group_wait_seconds=0)
    receiver.usual = answer("404 Not Found")
    await day.tell(day.burning())
    await day.pass_time(0)
    await day.pass_time(86_000)
    (delivery,) = await day.deliveries()
    assert delivery.state == "pending"
    await day.pass_time(1000)
    (delivery, *_) = await day.deliveries()
    assert (delivery.state, delivery.last_status, delivery.last_error) == ("dead", 404, "status 404")


async def test_a_receiver_that_is_gone_disables_its_target(day: Day, receiver: Receiver) -> None:
    id = await day.target(group_wait_seconds=0)
    receiver.usual = answer("410 Gone")
    await day.tell(day.burning())
    await day.pass_time(0)
    await day.tell(day.exhausted())
    await day.pass_time(86_400)
    assert len(receiver.messages) == 1
    async with day.sessions() as session:
        target = await session.get_one(NotificationTarget, id)
    assert (target.enabled, target.disabled_reason) == (False, "its receiver answered 410 Gone")
    assert [each.state for each in await day.deliveries()] == ["dead"]


async def test_a_slow_target_holds_up_no_other(day: Day, receiver: Receiver) -> None:
    await day.target("slow", "/slow", group_wait_seconds=0, group_by=["..."])
    await day.target("quick", "/quick", group_wait_seconds=0)
    receiver.by_path["/slow"] = webhook_receiver.stall
    await day.tell(*(day.burning(objective=number) for number in range(6)))
    await day.notifier.round()
    async with asyncio.timeout(5):
        while len(receiver.of("/slow")) < 4 or not any(each.state == "delivered" for each in await day.deliveries()):
            await asyncio.sleep(0.01)
    receiver.stopping.set()
    await day.notifier.settled()
    assert len(receiver.of("/slow")) == 4, "and is itself asked for no more than so many at a time"
    slow = [each for each in await day.deliveries() if each.state == "pending"]
    assert sorted(each.attempts for each in slow) == [0, 0, 1, 1, 1, 1]


async def test_silenced_alerts_are_told_when_the_silence_ends_if_they_go_on(day: Day, receiver: Receiver) -> None:
    id = await day.target(group_wait_seconds=0, group_by=[])
    await day.silence(10, service="shop")
    await day.tell(day.burning(), day.burning(objective=1), day.burning(day.carts))
    await day.pass_time(0)
    (message,) = receiver.messages
    assert [each["labels"]["service"] for each in message.json["data"]["alerts"]] == ["cart"]
    async with day.sessions() as session:
        page = await service.alerts(session, id, 0, 50)
    states = sorted((each.labels["service"], each.state.value, each.told) for each in page.items)
    assert states == [("cart", "firing", True), ("shop", "silenced", False), ("shop", "silenced", False)]
    await day.tell(day.recovered(objective=1))
    await day.pass_time(599)
    assert len(receiver.messages) == 1
    await day.pass_time(1)
    told = receiver.messages[1].json["data"]["alerts"]
    found = {(each["labels"]["service"], each["labels"]["objective"]) for each in told}
    assert found == {("cart", "0"), ("shop", "0")}


async def test_an_end_within_a_silence_is_told_after_it_to_who_heard_the_beginning(
    day: Day, receiver: Receiver
) -> None:
    await day.target(group_wait_seconds=0)
    await day.tell(day.burning())
    await day.pass_time(0)
    id = await day.silence(600, team="web")
    await day.tell(day.recovered())
    await day.pass_time(3600)
    assert len(receiver.messages) == 1
    async with day.sessions.begin() as session:
        await service.end_silence(session, id)
    await day.pass_time(0)
    assert statuses(receiver.messages[1]) == ["resolved"]


async def test_the_alerts_of_a_requirement_end_with_it(day: Day, receiver: Receiver) -> None:
    await day.target(group_wait_seconds=0)
    await day.tell(day.burning())
    await day.pass_time(0)
    async with day.sessions.begin() as session:
        await session.execute(text("UPDATE watched_requirements SET in_force = false"))
    await day.pass_time(300)
    assert [statuses(each) for each in receiver.messages] == [["firing"], ["resolved"]]


async def test_events_are_told_of_while_no_relay_publishes_any(day: Day, receiver: Receiver) -> None:
    await day.target(group_wait_seconds=0)
    async with day.sessions.begin() as session:
        await session.execute(_PRODUCER)
        await outbox.stage(session, day.burning())
        await session.execute(text("UPDATE outbox SET created_at = created_at - interval '6 seconds'"))
    async with asyncio.timeout(2):
        while not receiver.messages:
            await day.pass_time(0)


async def test_two_processes_tell_of_everything_once(day: Day, receiver: Receiver) -> None:
    await day.target(group_wait_seconds=0, group_by=["..."])
    await day.tell(*(day.burning(objective=number) for number in range(4)))
    both = (day.notifier, day.another())
    for _ in range(2):
        await asyncio.gather(*(each.round() for each in both))
        await asyncio.gather(*(each.settled() for each in both))
    told = [each["labels"]["objective"] for message in receiver.messages for each in message.json["data"]["alerts"]]
    assert sorted(told) == ["0", "1", "2", "3"]
