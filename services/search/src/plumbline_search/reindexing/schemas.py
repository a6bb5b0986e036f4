"""What the API says of indexes."""

from typing import Literal

from pydantic import AwareDatetime

from plumbline_common.schemas import Schema


class IndexResponse(Schema):
    id: int
    state: Literal["building", "live", "old"]
    model: str
    """Name and version of what made the vectors."""
    dimensions: int
    analysis: int
    """Version of what made the terms."""
    done: int
    """Documents that were built in; of an index that was never built beside another, what was repaired."""
    asked_by: str
    asked_at: AwareDatetime
    changed_at: AwareDatetime


class ReindexResponse(Schema):
    documents: int
    """How many there are."""
    live: IndexResponse | None
    building: IndexResponse | None
    """Null where none is built: the last one is live."""


class ProducerStanding(Schema):
    producer: str
    reached: int
    """Up to this position every event of the producer was done."""
    in_flight: int
    """Events that wait or are at work."""
    missing: int
    """Events that never arrived: they are asked for again."""
    dead: int
    """Events that failed again and again: they are asked for again."""


class CheckResponse(Schema):
    """What is missing is being repaired when this is answered."""

    documents: int
    missing: int
    """Documents that the live index lacks."""
    producers: list[ProducerStanding]
