import pytest

from plumbline_stack.config import DEFAULT_PORTS, StackConfig


def test_what_is_not_asked_for_has_a_default() -> None:
    assert StackConfig(ports={"gateway": 9999}).wanted_ports() == {**DEFAULT_PORTS, "gateway": 9999}


def test_an_unknown_port_is_refused() -> None:
    with pytest.raises(ValueError, match="no such port: gatewy"):
        StackConfig(ports={"gatewy": 1})
