from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

import webhook_sender
from plumbline_analysis.deployment_hooks import deliveries
from plumbline_analysis.deployment_hooks.deliveries import Delivery, Hook, Ignored
from plumbline_analysis.deployment_hooks.schemas import GithubEvent, HookFormat
from plumbline_analysis.deployments.schemas import DeploymentContent
from plumbline_common.errors import Invalid

HOOK = Hook("checkout", [], GithubEvent.DEPLOYMENT_STATUS)
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def delivery(sent: dict[str, Any]) -> Delivery:
    return Delivery(sent["headers"], sent["content"])


def of_github(content: Any, hook: Hook = HOOK, event: str = "deployment_status") -> DeploymentContent | Ignored:
    return deliveries.read(HookFormat.GITHUB, hook, delivery(webhook_sender.github("s", content, event)))


def plain(content: Any, hook: Hook = HOOK) -> DeploymentContent | Ignored:
    return deliveries.read(HookFormat.STANDARD, hook, delivery(webhook_sender.standard("s", content)))


def test_a_success_at_github_is_a_deployment() -> None:
    assert of_github(webhook_sender.deployment_status()) == DeploymentContent(
        service="checkout",
        version="f95f852bd8fca8fcc58a9a2d6c842781e32a215e",
        environment="production",
        deployed_at=NOON,
        url="https://github.com/octo/checkout/actions/runs/1208",
        description="A new client",
        external_id="github/145988746",
    )


@pytest.mark.parametrize(
    ("members", "version"),
    [
        ({"ref": "v1.4.2"}, "v1.4.2"),
        ({"ref": "refs/tags/1.4.2-rc.1"}, "1.4.2-rc.1"),
        ({"ref": "release/1.4"}, "f95f852bd8fca8fcc58a9a2d6c842781e32a215e"),
        ({"ref": "v1.4.2", "payload": {"version": "1.4.2+7"}}, "1.4.2+7"),
        ({"payload": "version"}, "f95f852bd8fca8fcc58a9a2d6c842781e32a215e"),
    ],
)
def test_the_version_is_what_the_deployment_calls_so(members: dict[str, Any], version: str) -> None:
    found = of_github(webhook_sender.deployment_status(**members))
    assert isinstance(found, DeploymentContent)
    assert found.version == version


@pytest.mark.parametrize("state", ["pending", "queued", "in_progress", "failure", "error", "inactive"])
def test_what_is_no_success_is_no_deployment(state: str) -> None:
    assert isinstance(of_github(webhook_sender.deployment_status(state)), Ignored)


def test_other_events_of_github_are_let_be() -> None:
    for event in ("ping", "push", "deployment", "x" * 1000):
        assert isinstance(of_github({"zen": "Design for failure."}, event=event), Ignored)


def test_a_hook_may_count_what_was_asked_for() -> None:
    content = webhook_sender.deployment_status()
    del content["deployment_status"]
    hook = HOOK._replace(github_event=GithubEvent.DEPLOYMENT)
    found = of_github(content, hook, "deployment")
    assert isinstance(found, DeploymentContent)
    assert (found.deployed_at, found.external_id) == (NOON.replace(hour=11, minute=50), "github/145988746")
    assert isinstance(of_github(webhook_sender.deployment_status(), hook), Ignored)


def test_a_hook_of_some_environments_lets_the_others_be() -> None:
    hook = HOOK._replace(environments=["staging"])
    assert isinstance(of_github(webhook_sender.deployment_status(), hook), Ignored)
    assert isinstance(plain({"version": "1"}, hook), Ignored)
    assert isinstance(plain({"version": "1", "environment": "staging"}, hook), DeploymentContent)


def test_a_plain_deployment_has_the_id_of_its_delivery_unless_it_has_its_own() -> None:
    assert plain({"version": "1"}) == DeploymentContent(service="checkout", version="1", external_id="msg-1")
    assert plain({"version": "1", "external_id": None}) == plain({"version": "1"})
    own = plain({"service": "checkout", "version": "1", "external_id": "1208"})
    assert isinstance(own, DeploymentContent)
    assert own.external_id == "1208"


def test_a_plain_deployment_is_of_the_hooks_service() -> None:
    with pytest.raises(Invalid) as refused:
        plain({"service": "cart", "version": "1"})
    assert refused.value.pointer == "/service"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", {"version": " "}, {"version": "1", "sha": "x"}])
def test_what_is_no_deployment_is_refused(content: Any) -> None:
    with pytest.raises(ValidationError):
        plain(content)
    with pytest.raises(ValidationError):
        of_github(content)


@pytest.mark.parametrize(
    "members", [{"id": "x"}, {"id": 10**300}, {"sha": "x" * 300}, {"payload": {"version": "\0"}}]
)
def test_what_github_would_not_say_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        of_github(webhook_sender.deployment_status(**members))


def test_a_status_without_a_link_that_can_be_opened_has_none() -> None:
    content = webhook_sender.deployment_status()
    content["deployment_status"] |= {"log_url": "javascript:alert(1)", "target_url": "https://a.example/ b"}
    found = of_github(content)
    assert isinstance(found, DeploymentContent)
    assert found.url is None


@pytest.mark.parametrize("ago", [-301, 301, 86_400])
def test_a_timestamp_that_is_far_from_now_is_refused(ago: float) -> None:
    stale = delivery(webhook_sender.standard("s", {}, ago=ago))
    with pytest.raises(deliveries.StaleDelivery):
        deliveries.check_fresh(HookFormat.STANDARD, stale, datetime.now(UTC))
    deliveries.check_fresh(HookFormat.GITHUB, stale, datetime.now(UTC))


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_delivery_without_one_of_its_headers_is_not_signed(name: str) -> None:
    sent = webhook_sender.standard("s", {})
    assert deliveries.is_signed(HookFormat.STANDARD, "s", delivery(sent))
    del sent["headers"][name]
    assert not deliveries.is_signed(HookFormat.STANDARD, "s", delivery(sent))


def test_a_timestamp_that_is_no_number_is_not_signed() -> None:
    sent = webhook_sender.standard("s", {})
    for id, timestamp in (("msg-1", "x"), ("msg-1", "9" * 40), ("", sent["headers"]["webhook-timestamp"])):
        signature = deliveries.signing.sign(b"s", id, timestamp, sent["content"])
        sent["headers"] |= {"webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature}
        assert not deliveries.is_signed(HookFormat.STANDARD, "s", delivery(sent))
