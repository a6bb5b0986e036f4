import pytest

from plumbline_analysis.pulls.failures import PullFailed, Reason
from plumbline_analysis.pulls.targets import Targets

ALL = ["0.0.0.0/0", "::/0", "*.internal", "localhost"]


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
    assert "is never asked" in str(Targets([]).fault(host))
    assert "is never asked" in str(Targets(ALL).fault(host))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_asked_only_where_it_is_listed(host: str) -> None:
    assert "this machine's own" in str(Targets([]).fault(host))
    assert Targets(ALL).fault(host) is None


def test_what_is_not_listed_is_refused_where_anything_is() -> None:
    targets = Targets(["10.0.0.0/8", "prometheus.example.org", "*.monitoring.svc"])
    for host in ("10.1.2.3", "prometheus.example.org", "a.b.monitoring.svc", "PROMETHEUS.example.org."):
        assert targets.fault(host) is None
    assert "is not among the hosts" in str(targets.fault("192.168.0.1"))
    assert "is not among the hosts" in str(Targets(["prometheus.example.org"]).fault("monitoring.svc"))
    assert Targets([]).fault("192.168.0.1") is None


async def test_a_name_is_judged_by_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"inside": ["10.0.0.1"], "rebound": ["10.0.0.2", "169.254.169.254"], "local": ["::1", "127.0.0.1"]}

    async def resolve(self: object, host: str, port: int, **_: object) -> list[object]:
        if host not in answers:
            raise OSError
        return [(2, 1, 6, "", (address, port)) for address in answers[host]]

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", resolve)
    assert await Targets([]).addresses("inside", 9090) == ["10.0.0.1"]
    assert await Targets(["local"]).addresses("local", 9090) == ["::1", "127.0.0.1"]
    for host, allowed, reason, said in (
        ("rebound", ["rebound"], Reason.ADDRESS, "rebound (169.254.169.254) is never asked"),
        ("local", [], Reason.ADDRESS, "local (::1) is this machine's own"),
        ("inside", ["192.168.0.0/16"], Reason.ADDRESS, "is not among the hosts"),
        ("nowhere", [], Reason.CONNECTION, "the name nowhere has no address"),
    ):
        with pytest.raises(PullFailed, match=said.replace("(", r"\(").replace(")", r"\)")) as failed:
            await Targets(allowed).addresses(host, 9090)
        assert failed.value.reason is reason
