"""One try to deliver a message: what is sent, and what the receiver's answer means."""

import asyncio
import email.utils
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import httpx

from plumbline_analysis import signing
from plumbline_analysis.notifications.schemas import TargetContent
from plumbline_analysis.settings import SECRETS, Settings
from plumbline_common.outgoing import AddressRefused, CheckedTransport, NoAddress, Targets
from plumbline_common.secret_store import NoSecret, SecretStore

ALLOWED = "PLUMBLINE_ANALYSIS_NOTIFICATION_ALLOWED"
CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
TOTAL_SECONDS = 15.0
_ANSWER_BYTES = 2048
"""So much of a refusal is read, for people."""
_SHOWN = 300
_LONGEST_ASKED = 86_400.0


@dataclass(frozen=True)
class Outcome:
    """`error` is None where the receiver has taken the message; `retry_after` is in seconds, where it gave one."""

    status: int | None
    error: str | None = None
    retry_after: float | None = None
    is_gone: bool = False
    """It wants nothing more of this address."""


class Sender:
    def __init__(self, settings: Settings, total_seconds: float = TOTAL_SECONDS) -> None:
        self.targets = Targets(settings.notification_allowed, ALLOWED)
        self._secrets = SecretStore(settings.secrets_folder, SECRETS)
        self._total = total_seconds
        # No cookies, no proxies, no redirects: what is sent goes where it was said, and nowhere else.
        self._http = httpx.AsyncClient(
            transport=CheckedTransport(self.targets, verify=ssl.create_default_context()),
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def send(self, target: TargetContent, id: UUID, body: str, now: datetime) -> Outcome:
        """A fault of any kind is an outcome too."""
        try:
            content = body.encode()
            headers = await self._headers(target, id, content, now)
            async with (
                asyncio.timeout(self._total),
                self._http.stream("POST", target.url, content=content, headers=headers) as response,
            ):
                if response.is_success:
                    return Outcome(response.status_code)
                return await _refusal(response, now)
        except TimeoutError:
            return Outcome(None, f"it did not answer within {self._total:g} s")
        except httpx.ConnectTimeout:
            return Outcome(None, f"no connection within {CONNECT_SECONDS:g} s")
        except httpx.TimeoutException:
            return Outcome(None, f"it said nothing for {READ_SECONDS:g} s")
        except (AddressRefused, NoAddress, NoSecret) as error:
            return Outcome(None, str(error))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            return Outcome(None, f"{type(error).__name__}: {_shown(str(error))}")

    async def _headers(self, target: TargetContent, id: UUID, body: bytes, now: datetime) -> dict[str, str]:
        """Raises `NoSecret`."""
        timestamp = int(now.timestamp())
        headers = {
            "content-type": "application/json",
            "user-agent": "Plumbline",
            "webhook-id": str(id),
            "webhook-timestamp": str(timestamp),
        }
        if target.secret is not None:
            key = signing.key_of(await self._secrets.read(target.secret))
            headers["webhook-signature"] = signing.sign(key, str(id), timestamp, body)
        for name, secret in target.headers.items():
            headers[name] = await self._secrets.header(secret)
        return headers


async def tried(sender: Sender, target: TargetContent, id: UUID, body: str, now: datetime) -> tuple[Outcome, float]:
    """The outcome, and how many seconds it took."""
    began = time.monotonic()
    return await sender.send(target, id, body, now), time.monotonic() - began


async def _refusal(response: httpx.Response, now: datetime) -> Outcome:
    status = response.status_code
    if response.has_redirect_location:
        return Outcome(status, f"it redirects to {_shown(response.headers['location'])}, which is not followed")
    said = _shown(await _beginning(response))
    error = f"status {status}" + (f": {said}" if said else "")
    return Outcome(status, error, _retry_after(response, now), is_gone=status == httpx.codes.GONE)


async def _beginning(response: httpx.Response) -> str:
    found = b""
    try:
        # As they came: what unpacks to more than it seems is of no use here.
        async for chunk in response.aiter_raw():
            found += chunk
            if len(found) >= _ANSWER_BYTES:
                break
    except httpx.HTTPError:
        pass
    return found[:_ANSWER_BYTES].decode(errors="replace")


def _shown(text: str) -> str:
    """In one line that PostgreSQL can store."""
    return " ".join(text.replace("\x00", "").split())[:_SHOWN]


def _retry_after(response: httpx.Response, now: datetime) -> float | None:
    """Seconds, from either form (RFC 9110, section 10.2.3); None where there is none to be understood."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_ASKED)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), _LONGEST_ASKED)
