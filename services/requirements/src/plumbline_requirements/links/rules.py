"""What may be said of a link, decided without I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from plumbline_common.errors import Conflict, Invalid


class LinkType(StrEnum):
    """Read from source to target: the source derives from the target."""

    DERIVES = "derives"
    REFINES = "refines"
    VERIFIES = "verifies"
    CONFLICTS = "conflicts"
    MITIGATES = "mitigates"
    DUPLICATES = "duplicates"


@dataclass(frozen=True)
class Filters:
    """What a link must have; None, or no type, asks for nothing."""

    source_id: UUID | None = None
    target_id: UUID | None = None
    requirement_id: UUID | None = None
    """At either end."""
    types: Sequence[LinkType] = ()
    suspect: bool | None = None


ACYCLIC = (LinkType.DERIVES, LinkType.REFINES)
"""Of these together no requirement may come back to itself."""


class LinkExists(Conflict):
    slug = "link-exists"
    title = "There is such a link already"


class LinkCycle(Conflict):
    slug = "link-cycle"
    title = "A requirement would derive from itself"


def check_ends(source: object, target: object) -> None:
    """Raise where a requirement would be linked with itself."""
    if source == target:
        raise Invalid("a requirement is not linked with itself", pointer="/target_id")


def check_evidence(type: LinkType, evidence: object) -> None:
    """Raise where evidence stands on a link that verifies nothing."""
    if evidence is not None and type is not LinkType.VERIFIES:
        raise Invalid("evidence belongs to a link of the type verifies", pointer="/evidence")
