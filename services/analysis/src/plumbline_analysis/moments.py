"""Instants as datetimes and as whole microseconds since the Unix epoch, converted exactly."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now() -> datetime:
    return datetime.now(UTC)


def moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
