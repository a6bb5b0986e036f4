"""What a stream is asked for."""

from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from plumbline_requirements.stream.rules import TYPES


def _known(name: str) -> str:
    if name not in TYPES:
        raise ValueError(f"no such event; there are {', '.join(TYPES)}")
    return name


EventName = Annotated[str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(TYPES)})]
"""The subject of an event without its version."""
