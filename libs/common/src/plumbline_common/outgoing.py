"""Which addresses a service may ask for people: a guard against server-side request forgery (CWE-918).

A name is resolved here and the connection goes to the address that was checked, so that a name whose address changes
in between (DNS rebinding) opens nothing.
"""

import asyncio
import contextlib
import ipaddress
import re
import socket
from collections.abc import Sequence
from typing import Any

import httpcore  # noqa: F401 - here, not when the first client is made on the loop
import httpx

from plumbline_common import admission

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where clouds hand out credentials, beside the link-local addresses: AWS over IPv6, Alibaba, Azure, Oracle.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")))
# The last part of a name is not a number alone: 300.0.0.1 is a mistaken address.
_NAME = re.compile(r"(\*\.)?([a-z0-9_-]{1,63}\.)*[a-z0-9_-]*[a-z][a-z0-9_-]*")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefused(Exception):
    """It may not be asked."""


class NoAddress(Exception):
    """The name has none."""


class Targets:
    """`allowed`, which `setting` gives, holds names (`*.example.org` for all below), addresses and networks; empty
    means any but those of this machine. Link-local, metadata, multicast, reserved and unspecified addresses are
    refused in any case."""

    def __init__(self, allowed: Sequence[str], setting: str) -> None:
        self._setting = setting
        self._names = {each.lower() for each in allowed if _network(each) is None}
        self._networks = [network for each in allowed if (network := _network(each)) is not None]

    def fault(self, host: str) -> str | None:
        """Why `host` can't be asked, as far as that is known without resolving it; None where nothing is wrong."""
        try:
            return self._address_fault(ipaddress.ip_address(host), host)
        except ValueError:
            pass
        if self._is_named(host) or self._networks or not self._names:
            return None
        return f"{host} is not among the hosts that may be asked ({self._setting})"

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of `host`, the preferred first, where all of them may be asked.

        Raises `AddressRefused` and `NoAddress`.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise NoAddress(f"the name {host} has no address") from None
        addresses = [ipaddress.ip_address(each[4][0]) for each in found]
        # One that is forbidden condemns the name: it would be asked sooner or later.
        for address in addresses:
            if (fault := self._address_fault(address, host)) is not None:
                raise AddressRefused(fault)
        return list(dict.fromkeys(map(str, addresses)))

    def _address_fault(self, address: IpAddress, host: str) -> str | None:
        inner = _embedded(address)
        said = host if host == str(address) else f"{host} ({address})"
        if _is_forbidden(inner):
            return f"{said} is never asked: it is a link-local, metadata, multicast or reserved address"
        if self._is_named(host) or any(inner in network for network in self._networks):
            return None
        if self._names or self._networks:
            return f"{said} is not among the hosts that may be asked ({self._setting})"
        if inner.is_loopback:
            return f"{said} is this machine's own: list it in {self._setting} to have it asked"
        return None

    def _is_named(self, host: str) -> bool:
        labels = host.lower().rstrip(".").split(".")
        below = {f"*.{'.'.join(labels[place:])}" for place in range(1, len(labels))}
        return ".".join(labels) in self._names or not below.isdisjoint(self._names)


def check_allowed(allowed: Sequence[str]) -> Sequence[str]:
    """Raise `ValueError` where one of them is no name, address or network."""
    for each in allowed:
        if _network(each) is None and not _NAME.fullmatch(each.lower()):
            raise ValueError(
                f"{each!r} is no name such as *.example.org, no address and no network such as 10.0.0.0/8"
            )
    return allowed


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _embedded(address: IpAddress) -> IpAddress:
    """The IPv4 address that an IPv6 address stands for, or itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_forbidden(address: IpAddress) -> bool:
    return (
        address in _METADATA
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.is_reserved and not address.is_loopback)  # ::1 lies in a reserved block
    )


_KEEP_NONE = httpx.Limits(max_connections=100, max_keepalive_connections=0)


class CheckedTransport(httpx.AsyncBaseTransport):
    """Connects to addresses that were checked; the Host header and the name that TLS verifies stay the URL's.

    Connections are known by their address alone, so none is kept: one whose certificate was verified for another name
    of the same address would be used. Who asks one name only may give `limits` that keep some.
    """

    def __init__(self, targets: Targets, limits: httpx.Limits = _KEEP_NONE, **options: Any) -> None:
        self._targets = targets
        self._inner = httpx.AsyncHTTPTransport(limits=limits, **options)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        admission.leave()
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        request.extensions = {**request.extensions, "sni_hostname": host}
        *others, last = await self._targets.addresses(host, port)
        for address in others:
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._ask(request, address)
        return await self._ask(request, last)

    async def _ask(self, request: httpx.Request, address: str) -> httpx.Response:
        request.url = request.url.copy_with(host=address)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()
