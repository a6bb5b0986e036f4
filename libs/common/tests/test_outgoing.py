import asyncio
import re

import httpx
import pytest

from plumbline_common import outgoing
from plumbline_common.outgoing import AddressRefused, NoAddress

ALL = ["0.0.0.0/0", "::/0", "*.internal", "localhost"]


def targets_of(allowed: list[str]) -> outgoing.Targets:
    return outgoing.Targets(allowed, "PLUMBLINE_TEST_ALLOWED")


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "fe80::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
    ],
)
def test_metadata_and_link_local_addresses_are_refused_whatever_is_allowed(host: str) -> None:
    assert "is never asked" in str(targets_of([]).fault(host))
    assert "is never asked" in str(targets_of(ALL).fault(host))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_asked_only_where_it_is_listed(host: str) -> None:
    assert "this machine's own" in str(targets_of([]).fault(host))
    assert targets_of(ALL).fault(host) is None


def test_what_is_not_listed_is_refused_where_anything_is() -> None:
    targets = targets_of(["10.0.0.0/8", "prometheus.example.org", "*.monitoring.svc"])
    for host in ("10.1.2.3", "prometheus.example.org", "a.b.monitoring.svc", "PROMETHEUS.example.org."):
        assert targets.fault(host) is None
    assert "is not among the hosts" in str(targets.fault("192.168.0.1"))
    assert "is not among the hosts" in str(targets_of(["prometheus.example.org"]).fault("monitoring.svc"))
    assert targets_of([]).fault("192.168.0.1") is None


async def test_a_name_is_judged_by_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"inside": ["10.0.0.1"], "rebound": ["10.0.0.2", "169.254.169.254"], "local": ["::1", "127.0.0.1"]}

    async def resolve(self: object, host: str, port: int, **_: object) -> list[object]:
        if host not in answers:
            raise OSError
        return [(2, 1, 6, "", (address, port)) for address in answers[host]]

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", resolve)
    assert await targets_of([]).addresses("inside", 9090) == ["10.0.0.1"]
    assert await targets_of(["local"]).addresses("local", 9090) == ["::1", "127.0.0.1"]
    for host, allowed, kind, said in (
        ("rebound", ["rebound"], AddressRefused, "rebound (169.254.169.254) is never asked"),
        ("local", [], AddressRefused, "local (::1) is this machine's own"),
        ("inside", ["192.168.0.0/16"], AddressRefused, "is not among the hosts"),
        ("nowhere", [], NoAddress, "the name nowhere has no address"),
    ):
        with pytest.raises(kind, match=re.escape(said)):
            await targets_of(allowed).addresses(host, 9090)


async def test_a_connection_to_one_name_is_not_used_for_another_of_the_same_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connections = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    monkeypatch.setattr(outgoing.Targets, "addresses", _local)
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = outgoing.CheckedTransport(targets_of(["one.example", "two.example"]))
    async with server, httpx.AsyncClient(transport=transport, trust_env=False) as http:
        for name in ("one.example", "two.example"):
            assert (await http.get(f"http://{name}:{port}/")).status_code == 204
    assert len(connections) == 2, "what TLS verified for the one says nothing of the other"


async def _local(self: object, host: str, port: int) -> list[str]:
    return ["127.0.0.1"]
