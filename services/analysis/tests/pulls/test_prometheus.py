"""The client against a server that answers well, badly, or never."""

import ssl
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import bad_days
from bad_days import BadDays, answer, matrix
from plumbline_analysis.pulls.asking import ALLOWED
from plumbline_analysis.pulls.failures import PullFailed, Reason
from plumbline_analysis.pulls.prometheus import Prometheus
from plumbline_analysis.pulls.rules import Range
from plumbline_analysis.pulls.schemas import PrometheusSpec
from plumbline_analysis.settings import SECRETS
from plumbline_analysis.sources.answers import Answer
from plumbline_common.outgoing import Targets
from plumbline_common.secret_store import SecretStore

HERE = ["127.0.0.1"]
NOON = 1_767_268_800
HTML = b"<!doctype html><title>Sign in</title>"


async def take(
    fake: BadDays, allowed: list[str] = HERE, secrets: SecretStore | None = None, limit: int = 100_000, **spec: Any
) -> Answer:
    given = {"url": fake.url, "queries": [{"name": "orders", "query": "orders"}]} | spec
    known = PrometheusSpec.model_validate(given)
    client = Prometheus(known, "eu", Targets(allowed, ALLOWED), secrets or SecretStore(None, SECRETS, {}), limit)
    try:
        return await client.take(known.queries, Range(NOON - 60, NOON))
    finally:
        await client.aclose()


async def refused(fake: BadDays, **options: Any) -> PullFailed:
    with pytest.raises(PullFailed) as failed:
        await take(fake, **options)
    return failed.value


async def test_a_range_is_asked_for_on_the_grid_without_its_beginning(fake: BadDays) -> None:
    found = await take(fake)
    asked = {"start": str(NOON - 45), "end": str(NOON), "step": "15"}
    assert fake.asked[0] | asked == fake.asked[0]
    assert (found.series, found.batch.accepted, found.said) == (1, 4, [])
    (block,) = found.batch.blocks
    assert (block.time // 1_000_000).tolist() == [NOON - 45, NOON - 30, NOON - 15, NOON]


@pytest.mark.parametrize(
    ("behaviour", "reason", "said", "may_help"),
    [
        (bad_days.half, Reason.CONNECTION, "broke off", True),
        (answer(HTML, kind="text/html"), Reason.HTML, "answered HTML (status 200)", False),
        (answer(b"", "302 Found", Location="http://10.0.0.1/"), Reason.REDIRECT, "redirects to http://10", False),
        (answer(b"no", "401 Unauthorized", "text/plain"), Reason.UNAUTHORIZED, "401", False),
        (answer(b"", "404 Not Found", "text/plain"), Reason.STATUS, "the status 404", False),
        (answer(HTML, "502 Bad Gateway", "text/html"), Reason.STATUS, "the status 502", True),
        (answer(b'{"status": "success", "data":'), Reason.UNREADABLE, "no JSON, or breaks off", True),
        (answer(b'{"health": "good"}'), Reason.UNREADABLE, "data must be an object", True),
        (
            answer(b'{"status":"error","errorType":"bad_data","error":"1:5: parse error: unclosed"}', "400 Bad"),
            Reason.QUERY,
            "query: 1:5: parse error: unclosed",
            False,
        ),
        (
            answer(b'{"status":"error","errorType":"timeout","error":"query timed out"}', "503 Unavailable"),
            Reason.STATUS,
            "503: timeout: query timed out",
            True,
        ),
        (answer(matrix(), Content_Encoding="br"), Reason.UNREADABLE, "content encoding 'br'", True),
    ],
)
async def test_a_bad_answer_is_named(
    fake: BadDays, behaviour: Any, reason: Reason, said: str, may_help: bool
) -> None:
    fake.behaviour = behaviour
    failure = await refused(fake)
    assert (failure.reason, failure.is_passing) == (reason, may_help)
    assert said in failure.detail
    assert len(fake.asked) == 1


@pytest.mark.parametrize("behaviour", [bad_days.stall, bad_days.trickle])
async def test_a_request_has_one_deadline_to_the_last_byte(fake: BadDays, behaviour: Any) -> None:
    fake.behaviour = behaviour
    failure = await refused(fake, timeout_seconds=0.3)
    assert (failure.reason, failure.detail) == (Reason.TIMEOUT, "timed out after 0.3 s")
    assert failure.is_passing


@pytest.mark.parametrize("packed", [False, True])
async def test_an_answer_is_never_taken_or_unpacked_beyond_the_limit(fake: BadDays, packed: bool) -> None:
    fake.behaviour = answer(b" " * 200_000, packed=packed)
    assert (await refused(fake)).reason is Reason.TOO_LARGE


async def test_retry_after_is_read_as_seconds_and_as_a_date(fake: BadDays) -> None:
    fake.once = [
        answer(b"", "429 Too Many Requests", "text/plain", Retry_After="7"),
        answer(b"", "503 Unavailable", "text/plain", Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
        answer(b"", "429 Too Many Requests", "text/plain", Retry_After="soon"),
        answer(b"", "429 Too Many Requests", "text/plain", Retry_After="99999999"),
    ]
    assert [(await refused(fake)).retry_after for _ in range(4)] == [7, 0, None, 3600]


async def test_a_server_that_is_not_there_is_named() -> None:
    away = BadDays()
    away.url = "http://127.0.0.1:1"
    failure = await refused(away)
    assert (failure.reason, failure.is_passing) == (Reason.CONNECTION, True)


async def test_each_address_of_a_name_is_tried(fake: BadDays, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(self: object, host: str, port: int) -> list[str]:
        return ["::1", "127.0.0.1"]

    monkeypatch.setattr(Targets, "addresses", resolve)
    found = await take(fake, url=fake.url.replace("127.0.0.1", "prometheus"))
    assert found.batch.accepted == 4
    assert "host: prometheus:" in fake.headers[0].lower()


async def test_an_address_that_may_not_be_asked_is_not_connected_to(fake: BadDays) -> None:
    failure = await refused(fake, allowed=[])
    assert (failure.reason, fake.asked) == (Reason.ADDRESS, [])


async def test_the_certificate_is_held_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    certificate, context = certified("localhost")
    secrets = SecretStore(None, SECRETS, {"PLUMBLINE_ANALYSIS_SECRET_CA": certificate})
    async with bad_days.serving(context) as fake:
        port = fake.url.rpartition(":")[2]
        allowed = ["localhost", "127.0.0.1"]
        found = await take(fake, allowed, secrets, url=f"https://localhost:{port}", tls_ca="ca")
        assert found.batch.accepted == 4
        by_address = await refused(fake, secrets=secrets, url=f"https://127.0.0.1:{port}", tls_ca="ca")
        unknown = await refused(fake, allowed=allowed, url=f"https://localhost:{port}")
    assert "doesn't match" in by_address.detail or "not valid for" in by_address.detail
    assert "self-signed" in unknown.detail or "unable to get local issuer" in unknown.detail
    assert len(fake.asked) == 1
    nonsense = SecretStore(None, SECRETS, {"PLUMBLINE_ANALYSIS_SECRET_CA": "nonsense"})
    assert (await refused(fake, secrets=nonsense, url="https://localhost", tls_ca="ca")).reason is Reason.CREDENTIALS


def certified(name: str) -> tuple[str, ssl.SSLContext]:
    """A certificate (PEM) that a server of this name signed for itself, and the server's side of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate + private)
        file.flush()
        context.load_cert_chain(file.name)
    return certificate.decode(), context


async def test_credentials_come_from_secrets_and_keep_the_host(fake: BadDays, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    secrets = SecretStore(tmp_path, SECRETS, {"PLUMBLINE_ANALYSIS_SECRET_TENANT_EU": "eu-1"})
    await take(fake, secrets=secrets, bearer_token="token", headers={"X-Scope-OrgID": "tenant.eu"})
    lines = fake.headers[0].split("\r\n")
    host = fake.url.removeprefix("http://")
    assert {"authorization: Bearer t0ken", "x-scope-orgid: eu-1", f"host: {host}"} <= {
        line.split(":")[0].lower() + ":" + line.partition(":")[2] for line in lines
    }


@pytest.mark.parametrize("value", [None, "", "two\r\nlines", "naïve"])
async def test_a_secret_that_is_missing_or_no_header_is_named(fake: BadDays, value: str | None) -> None:
    known = {} if value is None else {"PLUMBLINE_ANALYSIS_SECRET_TOKEN": value}
    failure = await refused(fake, secrets=SecretStore(None, SECRETS, known), bearer_token="token")
    assert failure.reason is Reason.CREDENTIALS
    assert fake.asked == []


async def test_no_more_is_asked_than_the_rate_allows(fake: BadDays) -> None:
    spec = PrometheusSpec.model_validate(
        {"url": fake.url, "queries": [{"name": "orders", "query": "orders"}], "requests_per_second": 50}
    )
    client = Prometheus(spec, "eu", Targets(HERE, ALLOWED), SecretStore(None, SECRETS, {}), 100_000)
    began = time.monotonic()
    for _ in range(10):
        await client.take(spec.queries, Range(NOON - 60, NOON))
    await client.aclose()
    assert time.monotonic() - began >= 0.1
