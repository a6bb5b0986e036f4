"""What a baseline may hold, decided without I/O."""

from collections.abc import Iterable, Mapping

from plumbline_common.errors import Conflict, Invalid

LARGEST = 100_000
"""How many revisions one baseline holds at most."""
REPORTED = 50
"""How many faults are told at most."""


class BaselineExists(Conflict):
    slug = "baseline-exists"
    title = "There is a baseline of that name"


class BadItems(Invalid):
    """Members of `items` that cannot stand in a baseline: pointers to them, and why."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__(
            "; ".join(f"{pointer}: {detail}" for pointer, detail in list(faults.items())[:3]),
            errors=[{"pointer": pointer, "detail": detail} for pointer, detail in faults.items()],
        )


def check_once(requirements: Iterable[object]) -> None:
    """Raise `BadItems` where a requirement comes a second time: a baseline holds one revision of each."""
    first: dict[object, int] = {}
    faults: dict[str, str] = {}
    for place, requirement in enumerate(requirements):
        earlier = first.setdefault(requirement, place)
        if earlier != place:
            faults[f"/items/{place}/requirement_id"] = f"stands at /items/{earlier} already"
            if len(faults) == REPORTED:
                break
    if faults:
        raise BadItems(faults)


def check_selected(size: int) -> None:
    """Raise unless a selection makes a baseline."""
    if size == 0:
        raise Invalid("no requirement matches", pointer="/select")
    if size > LARGEST:
        raise Invalid(f"more than {LARGEST} requirements match; a baseline holds no more", pointer="/select")
