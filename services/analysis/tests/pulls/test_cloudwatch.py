"""The client against moto's server, and against answers that moto does not give."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, NoCredentialsError, ReadTimeoutError
from moto.server import ThreadedMotoServer

from plumbline_analysis.pulls import cloudwatch
from plumbline_analysis.pulls.asking import ALLOWED
from plumbline_analysis.pulls.cloudwatch import CloudWatch
from plumbline_analysis.pulls.failures import PullFailed, Reason
from plumbline_analysis.pulls.rules import Range
from plumbline_analysis.pulls.schemas import CloudWatchSpec
from plumbline_analysis.sources.answers import Answer
from plumbline_analysis.sources.batch import Kind, Temporality
from plumbline_common.outgoing import Targets

HERE = ["127.0.0.1"]
UNTIL = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
PULLED = Range(int(UNTIL.timestamp()) - 300, int(UNTIL.timestamp()))


def query(**members: Any) -> dict[str, Any]:
    asked = {"name": "orders", "namespace": "Shop", "metric_name": "Orders", "dimensions": {"Store": "a"}}
    return asked | {"statistic": "Sum"} | members


def spec(*queries: dict[str, Any], **members: Any) -> CloudWatchSpec:
    given = {"region": "eu-west-1", "queries": list(queries or [query()]), "requests_per_second": 50}
    return CloudWatchSpec.model_validate(given | members)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """Where CloudWatch is; five minutes of orders, the first of them 1, are there."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client(
        "cloudwatch", region_name="eu-west-1", endpoint_url=url, aws_access_key_id="k", aws_secret_access_key="s"
    )
    data = [
        {
            "MetricName": "Orders",
            "Dimensions": [{"Name": "Store", "Value": store}],
            "Timestamp": UNTIL - timedelta(minutes=5 - minute),
            "Value": minute + 1.0,
        }
        for store in ("a", "b")
        for minute in range(5)
    ]
    client.put_metric_data(Namespace="Shop", MetricData=data)
    client.close()
    yield url
    server.stop()


async def test_sums_and_averages_are_pulled_at_the_end_of_their_periods(aws: str) -> None:
    average = query(name="mean orders", statistic="Average", dimensions={"Store": "b"}, service="shop")
    known = spec(query(unit="{order}"), average, query(name="none", dimensions={"Store": "c"}), endpoint_url=aws)
    client = CloudWatch(known, "aws", Targets(HERE, ALLOWED))
    found = await client.take(known.queries, PULLED)
    await client.aclose()
    assert (found.series, found.batch.accepted, found.said) == (2, 10, [])
    added, mean = found.batch.blocks
    (head, attributes), (of_mean, _) = (each.describe(each.keys[0]) for each in (added, mean))
    assert (head.source, head.kind, head.temporality) == ("cloudwatch", Kind.SUM, Temporality.DELTA)
    assert head.resource == (("cloud.provider", "aws"), ("cloud.region", "eu-west-1"))
    assert attributes == {
        "Store": "a", "aws.cloudwatch.namespace": "Shop", "aws.cloudwatch.metric": "Orders",
        "aws.cloudwatch.statistic": "Sum",
    }  # fmt: skip
    assert (added.time // 1_000_000).tolist() == [PULLED.after + 60 * minute for minute in (1, 2, 3, 4, 5)]
    assert (added.time - added.start).tolist() == [60_000_000] * 5
    assert (of_mean.kind, of_mean.metric) == (Kind.GAUGE, "mean orders")
    assert ("service.name", "shop") in of_mean.resource
    assert list(mean.values) == [1, 2, 3, 4, 5]


async def test_an_endpoint_that_may_not_be_asked_is_not_connected_to(aws: str) -> None:
    known = spec(endpoint_url=aws)
    with pytest.raises(PullFailed) as failed:
        await CloudWatch(known, "aws", Targets([], ALLOWED)).take(known.queries, PULLED)
    assert failed.value.reason is Reason.ADDRESS


class Scripted:
    """Answers of CloudWatch, one after the other; `asked` are the calls."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def get_metric_data(self, **asked: Any) -> Any:
        self.asked.append(dict(asked))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None: ...


def page(*results: tuple[int, str, int], token: str | None = None, **members: Any) -> dict[str, Any]:
    """Of each query by its place: a status, and the minute of its one value."""
    found = [
        {
            "Id": f"q{place}",
            "StatusCode": status,
            "Timestamps": [UNTIL - timedelta(minutes=5 - minute)],
            "Values": [1.0],
        }
        for place, status, minute in results
    ]
    return {"MetricDataResults": found, **({"NextToken": token} if token else {})} | members


def refusal(code: str, status: int) -> ClientError:
    said = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(said, "GetMetricData")  # type: ignore[arg-type]


async def take(monkeypatch: pytest.MonkeyPatch, scripted: Scripted, known: CloudWatchSpec) -> Answer:
    monkeypatch.setattr(cloudwatch, "_connected", lambda _: scripted)
    client = CloudWatch(known, "aws", Targets([], ALLOWED))
    try:
        return await client.take(known.queries, PULLED)
    finally:
        await client.aclose()


async def test_an_answer_is_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    known = spec(query(), query(name="other"))
    scripted = Scripted(
        page((0, "PartialData", 1), token="next", Messages=[{"Code": "x", "Value": "slow today"}]),
        page((0, "Complete", 2), (1, "Complete", 1)),
    )
    found = await take(monkeypatch, scripted, known)
    assert (found.series, found.batch.accepted, found.said) == (2, 3, ["slow today"])
    assert [asked.get("NextToken") for asked in scripted.asked] == [None, "next"]
    assert CloudWatch.at_once == 500


@pytest.mark.parametrize(
    ("answer", "reason", "said", "may_help"),
    [
        (refusal("Throttling", 400), Reason.THROTTLED, "Throttling: m", True),
        (refusal("AccessDenied", 403), Reason.UNAUTHORIZED, "AccessDenied: m", False),
        (refusal("InvalidParameterValue", 400), Reason.QUERY, "query: InvalidParameterValue: m", False),
        (refusal("InternalServiceFault", 500), Reason.STATUS, "InternalServiceFault: m", True),
        (ReadTimeoutError(endpoint_url="x"), Reason.TIMEOUT, "timed out after 10 s", True),
        (NoCredentialsError(), Reason.CREDENTIALS, "Unable to locate credentials", False),
        (page((0, "InternalError", 1)), Reason.STATUS, "orders: InternalError", True),
        (page((0, "PartialData", 1)), Reason.STATUS, "orders: PartialData", True),
        (page((0, "Forbidden", 1)), Reason.QUERY, "query: orders: Forbidden", False),
        (page(), Reason.STATUS, "orders: left out", True),
    ],
)
async def test_a_bad_answer_is_named_and_nothing_of_it_taken(
    monkeypatch: pytest.MonkeyPatch, answer: Any, reason: Reason, said: str, may_help: bool
) -> None:
    with pytest.raises(PullFailed) as failed:
        await take(monkeypatch, Scripted(answer), spec())
    assert (failed.value.reason, failed.value.detail, failed.value.is_passing) == (reason, said, may_help)


async def test_a_profile_that_is_not_there_is_named() -> None:
    known = spec(profile="nobody")
    with pytest.raises(PullFailed, match="nobody") as failed:
        await CloudWatch(known, "aws", Targets([], ALLOWED)).take(known.queries, PULLED)
    assert failed.value.reason is Reason.CREDENTIALS


@pytest.mark.parametrize("seconds", [0, 2, 61, 86_460])
def test_a_period_that_cloudwatch_does_not_have_is_refused(seconds: int) -> None:
    with pytest.raises(ValueError, match="period_seconds"):
        spec(query(period_seconds=seconds))
