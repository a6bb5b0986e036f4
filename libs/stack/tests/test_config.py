import pytest

from plumbline_stack.config import DEFAULT_PORTS, StackConfig


def test_what_is_not_asked_for_has_a_default() -> None:
    assert StackConfig(ports={"gateway": 9999}).wanted_ports() == {**DEFAULT_PORTS, "gateway": 9999}


@pytest.mark.parametrize("interval", ["200ms", "1.5s", "1m30s", "always"])
def test_a_sync_interval_is_a_duration_or_always(interval: str) -> None:
    assert StackConfig(nats_sync_interval=interval).nats_sync_interval == interval


@pytest.mark.parametrize("interval", ["", "1", "s", "-1s", "1 s", "never", "1s\nport: 1"])
def test_another_sync_interval_is_refused(interval: str) -> None:
    with pytest.raises(ValueError, match="200ms or 1s, or always"):
        StackConfig(nats_sync_interval=interval)


def test_an_unknown_port_is_refused() -> None:
    with pytest.raises(ValueError, match="no such port: gatewy"):
        StackConfig(ports={"gatewy": 1})
