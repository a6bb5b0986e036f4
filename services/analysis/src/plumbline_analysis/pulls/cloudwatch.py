"""The client of CloudWatch: GetMetricData, many metrics a call, through boto3 on a thread."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
)

from plumbline_analysis.pulls.failures import NOT_ASKED, PullFailed, Reason, not_asked
from plumbline_analysis.pulls.rules import Range
from plumbline_analysis.pulls.schemas import CloudWatchSpec
from plumbline_analysis.pulls.token_bucket import TokenBucket
from plumbline_analysis.sources import cloudwatch
from plumbline_analysis.sources.answers import Answer
from plumbline_analysis.sources.batch import Batch
from plumbline_analysis.sources.queries import CloudWatchQuery
from plumbline_common import offload
from plumbline_common.outgoing import Targets

MAX_POINTS = 100_800
"""Of one call's answer; more come in pages."""
_CONNECT_SECONDS = 5.0
_DETAIL = 300
_THROTTLED = ("Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "LimitExceeded",
              "TooManyRequestsException", "SlowDown", "RequestThrottled")  # fmt: skip
_UNAUTHORIZED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "InvalidClientTokenId",
                 "UnrecognizedClientException", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException",
                 "AuthFailure", "OptInRequired")  # fmt: skip


class CloudWatch:
    """Made for one source of the name `scope`."""

    at_once = 500

    def __init__(self, spec: CloudWatchSpec, scope: str, targets: Targets) -> None:
        self._spec = spec
        self._scope = scope
        self._targets = targets
        self._bucket = TokenBucket(spec.requests_per_second)
        self._client: Any = None

    def step(self, query: CloudWatchQuery) -> int:
        return query.period_seconds

    def steps(self, queries: int) -> int:
        """How many one question can reach over with one page of points."""
        return max(1, MAX_POINTS // queries)

    async def take(self, queries: Sequence[CloudWatchQuery], pulled: Range) -> Answer:
        """What at most 500 queries of one period give. Raises `PullFailed`."""
        if self._spec.endpoint_url is not None:
            at = urlsplit(self._spec.endpoint_url)
            try:
                await self._targets.addresses(str(at.hostname), at.port or (443 if at.scheme == "https" else 80))
            except NOT_ASKED as error:
                raise not_asked(error) from None
        asked: dict[str, Any] = {
            "MetricDataQueries": [_asked(place, query) for place, query in enumerate(queries)],
            "StartTime": datetime.fromtimestamp(pulled.after, UTC),
            "EndTime": datetime.fromtimestamp(pulled.until, UTC),
            "ScanBy": "TimestampAscending",
        }
        found, statuses, messages = Batch(), dict.fromkeys(range(len(queries)), ""), []
        with_points = set()
        while True:
            await self._bucket.take()
            page = await offload.in_thread(self._page, asked)
            messages += [str(each.get("Value", ""))[:_DETAIL] for each in page.get("Messages", [])]
            for result in page.get("MetricDataResults", []):
                place = int(result["Id"].removeprefix("q"))
                statuses[place] = result["StatusCode"]
                if result["Timestamps"]:
                    with_points.add(place)
                    times, values = result["Timestamps"], result["Values"]
                    query, spec = queries[place], self._spec
                    cloudwatch.add(found, pulled, query, spec.region, self._scope, times, values)
            if not page.get("NextToken"):
                break
            asked["NextToken"] = page["NextToken"]
        _check(queries, statuses)
        return Answer(found, len(with_points), messages[:20])

    async def aclose(self) -> None:
        if self._client is not None:
            await offload.in_thread(self._client.close)

    def _page(self, asked: dict[str, Any]) -> Any:
        """Blocks."""
        try:
            if self._client is None:
                self._client = _connected(self._spec)
            return self._client.get_metric_data(**asked)
        except ClientError as error:
            raise _refusal(error) from error
        except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
            raise PullFailed(Reason.CREDENTIALS, str(error)[:_DETAIL]) from error
        except (ConnectTimeoutError, ReadTimeoutError) as error:
            raise PullFailed(Reason.TIMEOUT, f"timed out after {self._spec.timeout_seconds:g} s") from error
        except HTTPClientError as error:
            raise PullFailed(Reason.CONNECTION, f"no connection: {str(error)[:_DETAIL]}") from error
        except (BotoCoreError, ValueError) as error:
            raise PullFailed(Reason.UNREADABLE, f"no answer of CloudWatch: {str(error)[:_DETAIL]}") from error


def _connected(spec: CloudWatchSpec) -> Any:
    config = Config(
        connect_timeout=min(_CONNECT_SECONDS, spec.timeout_seconds),
        read_timeout=spec.timeout_seconds,
        retries={"mode": "adaptive", "total_max_attempts": 2},
    )
    session = boto3.Session(profile_name=spec.profile, region_name=spec.region)
    return session.client("cloudwatch", endpoint_url=spec.endpoint_url, config=config)


def _asked(place: int, query: CloudWatchQuery) -> dict[str, Any]:
    dimensions = [{"Name": name, "Value": value} for name, value in query.dimensions.items()]
    metric = {"Namespace": query.namespace, "MetricName": query.metric_name, "Dimensions": dimensions}
    stat = {"Metric": metric, "Period": query.period_seconds, "Stat": query.statistic}
    return {"Id": f"q{place}", "MetricStat": stat}


def _refusal(error: ClientError) -> PullFailed:
    code, status = str(error.response["Error"]["Code"]), error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
    said = f"{code}: {error.response['Error'].get('Message', '')}"[:_DETAIL]
    if code in _THROTTLED or status == 429:
        return PullFailed(Reason.THROTTLED, said)
    if code in _UNAUTHORIZED or status in (401, 403):
        return PullFailed(Reason.UNAUTHORIZED, said)
    if status >= 500:
        return PullFailed(Reason.STATUS, said, passing=True)
    return PullFailed(Reason.QUERY, f"query: {said}")


def _check(queries: Sequence[CloudWatchQuery], statuses: dict[int, str]) -> None:
    """Raises `PullFailed` where a query was not answered in full: the range is then pulled again."""
    for place, status in statuses.items():
        if status == "Forbidden":
            raise PullFailed(Reason.QUERY, f"query: {queries[place].name}: Forbidden")
        if status != "Complete":
            raise PullFailed(Reason.STATUS, f"{queries[place].name}: {status or 'left out'}", passing=True)
