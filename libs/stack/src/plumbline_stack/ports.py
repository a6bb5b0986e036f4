"""Free TCP ports on 127.0.0.1, and keeping them between the choice and the use."""

import socket
from collections.abc import Iterable

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now. A port in TIME_WAIT counts as free: servers reuse it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def choose(preferred: int | None = None, *, taken: Iterable[int] = ()) -> int:
    """`preferred` where it is free, else one that the kernel picks; never one of `taken`."""
    unusable = set(taken)
    if preferred and preferred not in unusable and is_free(preferred):
        return preferred
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port not in unusable:
            return port


class Reservations:
    """Ports that no other stack on this machine takes until `close`, also before a server listens on them.

    The sign is a UDP socket on the same number: it is in no TCP server's way, every user's stack sees it, and the
    kernel removes it with the process.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def take(self, wanted: int) -> int:
        """`wanted` where it is free and nobody's, else another."""
        port = wanted
        while not (is_free(port) and self._hold(port)):
            port = choose()
        return port

    def _hold(self, port: int) -> bool:
        sign = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sign.bind((HOST, port))
        except OSError:
            sign.close()
            return False
        self._held.append(sign)
        return True

    def close(self) -> None:
        for sign in self._held:
            sign.close()
        self._held.clear()
