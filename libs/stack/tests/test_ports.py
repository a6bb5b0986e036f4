import contextlib
import socket
from collections.abc import Iterator

import pytest

from plumbline_stack import ports
from plumbline_stack.ports import Reservations


@pytest.fixture
def ours() -> Iterator[Reservations]:
    with contextlib.closing(Reservations()) as reservations:
        yield reservations


@pytest.fixture
def theirs() -> Iterator[Reservations]:
    with contextlib.closing(Reservations()) as reservations:
        yield reservations


def test_a_free_port_that_is_wanted_is_taken(ours: Reservations) -> None:
    wanted = ports.choose()
    assert ours.take(wanted) == wanted


def test_a_port_that_a_server_uses_is_replaced(ours: Reservations) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        wanted = server.getsockname()[1]
        assert not ports.is_free(wanted)
        assert ours.take(wanted) != wanted


def test_a_reserved_port_is_not_given_to_another_stack(ours: Reservations, theirs: Reservations) -> None:
    wanted = ports.choose()
    assert ours.take(wanted) == wanted
    assert theirs.take(wanted) != wanted
    ours.close()
    assert theirs.take(wanted) == wanted


def test_a_reserved_port_can_be_listened_on(ours: Reservations) -> None:
    port = ours.take(ports.choose())
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
        server.listen()
