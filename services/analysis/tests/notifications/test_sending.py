"""Against a receiver on a socket; no database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import UUID

import pytest

import webhook_receiver
from plumbline_analysis import signing
from plumbline_analysis.notifications.schemas import TargetContent
from plumbline_analysis.notifications.sending import Outcome, Sender
from plumbline_analysis.settings import Settings
from webhook_receiver import Receiver, answer

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ID = UUID("0190a8a0-0000-7000-8000-000000000001")
NOWHERE = "postgresql+asyncpg://nobody@127.0.0.1/nothing"


def sender_of(*allowed: str) -> Sender:
    settings = Settings(
        database_url=NOWHERE, nats_url="nats://nowhere", jwks_uri="file:///nowhere", notification_allowed=allowed
    )
    return Sender(settings, total_seconds=0.3)


@pytest.fixture(scope="module")
async def sender() -> AsyncIterator[Sender]:
    sender = sender_of("127.0.0.1")
    yield sender
    await sender.aclose()


def target(url: str, **members: Any) -> TargetContent:
    return TargetContent(**{"name": "pager", "url": url} | members)


async def send(sender: Sender, url: str, **members: Any) -> Outcome:
    return await sender.send(target(url, **members), ID, '{"text":"ü"}', NOW)


async def test_a_message_bears_its_id_its_time_and_a_signature(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUMBLINE_ANALYSIS_SECRET_HOOK_KEY", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    monkeypatch.setenv("PLUMBLINE_ANALYSIS_SECRET_TOKEN", "Bearer abc")
    url = f"{receiver.url}/hook?room=sre"
    assert await send(sender, url, secret="hook-key", headers={"Authorization": "token"}) == Outcome(204)
    (message,) = receiver.messages
    assert message.path == "/hook?room=sre"
    assert message.body == '{"text":"ü"}'.encode()
    told = message.headers
    assert told["webhook-id"] == str(ID)
    assert told["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert told["authorization"] == "Bearer abc"
    assert told["content-type"] == "application/json"
    key = signing.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert told["webhook-signature"] == signing.sign(key, str(ID), int(NOW.timestamp()), message.body)


async def test_without_a_secret_there_is_no_signature(sender: Sender, receiver: Receiver) -> None:
    await send(sender, receiver.url)
    assert "webhook-signature" not in receiver.messages[0].headers


@pytest.mark.parametrize(
    ("behaviour", "status", "said"),
    [
        (answer("500 Oops", b"the queue\x00\n is full"), 500, "status 500: the queue is full"),
        (answer("400 Bad Request"), 400, "status 400"),
        (answer("302 Found"), 302, "status 302"),
        (webhook_receiver.stall, None, "it did not answer within 0.3 s"),
        (webhook_receiver.half, None, "RemoteProtocolError"),
        (webhook_receiver.endless, 500, "status 500: so sorry so sorry"),
        (
            answer("307 Temporary Redirect", Location="http://169.254.169.254/latest"),
            307,
            "it redirects to http://169.254.169.254/latest, which is not followed",
        ),
    ],
)
async def test_each_failure_is_told_with_its_reason(
    sender: Sender, receiver: Receiver, behaviour: Any, status: int | None, said: str
) -> None:
    receiver.once.append(behaviour)
    outcome = await send(sender, receiver.url)
    assert outcome.status == status
    assert outcome.error is not None
    assert outcome.error.startswith(said)
    assert len(outcome.error) < 400
    assert not outcome.is_gone
    assert len(receiver.messages) == 1, "nothing follows or repeats it"


async def test_what_a_receiver_says_after_taking_it_changes_nothing(sender: Sender, receiver: Receiver) -> None:
    receiver.once.append(webhook_receiver.cut)
    assert (await send(sender, receiver.url)).error is None


async def test_a_receiver_may_be_gone_or_ask_for_patience(sender: Sender, receiver: Receiver) -> None:
    date = format_datetime(NOW + timedelta(minutes=2), usegmt=True)
    cases = (
        ("410 Gone", {}, (None, True)),
        ("429 Too Many Requests", {"retry_after": "120"}, (120.0, False)),
        ("503 Service Unavailable", {"retry_after": date}, (120.0, False)),
        ("503 Service Unavailable", {"retry_after": "soon"}, (None, False)),
        ("429 Too Many Requests", {"retry_after": "99999999"}, (86_400.0, False)),
    )
    for status, headers, expected in cases:
        receiver.once.append(answer(status, **headers))
        outcome = await send(sender, receiver.url)
        assert (outcome.retry_after, outcome.is_gone) == expected


async def test_nobody_there_no_secret_and_no_right_are_failures_too(sender: Sender, receiver: Receiver) -> None:
    assert "there is no secret 'absent'" in str((await send(sender, receiver.url, secret="absent")).error)
    assert "is never asked" in str((await send(sender, "http://169.254.169.254/")).error)
    assert str((await send(sender, "http://127.0.0.1:9/")).error).startswith("ConnectError")
    strict = sender_of()
    assert "this machine's own" in str((await send(strict, receiver.url)).error)
    await strict.aclose()
    assert receiver.messages == []
