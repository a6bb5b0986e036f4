"""What the verdict routes answer."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from plumbline_common.schemas import Schema, Verdict


class VerdictResponse(Verdict):
    """The latest verdict of a requirement, with the evidence of its latest evaluation."""

    requirement_key: str
    requirement_title: str
    changed_at: AwareDatetime
    """Since when the state and the revision are these."""
    evaluated_at: AwareDatetime
    stale: bool
    """Whether another revision than the one that was judged is in force by now; it is judged next."""


class VerdictPage(Schema):
    items: list[VerdictResponse]
    total: Annotated[int, Field(ge=0)]
