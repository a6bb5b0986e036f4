"""Which requirement an SLO of a file belongs to, and what of it changes; decided without I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from plumbline_common.errors import Conflict, Invalid
from plumbline_common.openslo import checking, slos
from plumbline_common.openslo.checking import Finding, Located, Severity
from plumbline_common.openslo.objects import REQUIREMENT, SLI, SLO
from plumbline_common.openslo.slos import NotForPlumbline
from plumbline_common.schemas import Slo

MOST_FINDINGS = 200
_SECRETS = ("password", "passwd", "secret", "token", "apikey", "api_key", "accesskey", "credential", "privatekey")

Key = tuple[str, str]
"""Kind and name."""


class NotImportable(Invalid):
    slug = "openslo-invalid"
    title = "The OpenSLO text cannot be imported, so nothing of it was"


class InUse(Conflict):
    slug = "in-use"
    title = "Requirements pin SLOs that refer to it"


@dataclass(frozen=True)
class Pinning:
    """A requirement that pins SLOs, as far as an import must know it."""

    id: UUID
    key: str
    revision: int
    title: str
    status: str
    owner_team: str | None
    service: str | None
    slos: Sequence[Slo]

    def find(self, name: str) -> Slo | None:
        return next((slo for slo in self.slos if slo.name == name), None)


@dataclass
class Given:
    """The objects of a text: the last of each kind and name counts."""

    shared: dict[Key, Located] = field(default_factory=dict)
    slos: dict[tuple[str, ...], tuple[Located, Slo]] = field(default_factory=dict)
    """By name and the requirement that they say they belong to."""
    findings: list[Finding] = field(default_factory=list)


def given(objects: Sequence[Located]) -> Given:
    """Take each object as Plumbline keeps it. What it can't keep is among the findings."""
    found = Given()
    for located in objects:
        thing = located.object
        try:
            if isinstance(thing, SLO):
                found.slos[checking.identity(thing)] = (located, slos.slo_of(thing))
                continue
            if isinstance(thing, SLI):
                slos.indicator_of(thing)
        except NotForPlumbline as error:
            found.findings.append(located.finding("error", error.path, error.reason))
            continue
        found.shared[thing.kind, thing.name] = located
        found.findings += _secrets(located)
    return found


def _secrets(located: Located) -> list[Finding]:
    details = getattr(located.object.spec, "connection_details", None)
    names = list(details) if isinstance(details, dict) else []
    reason = "looks like a secret: whoever may read requirements can read it, so keep it where secrets are kept"
    return [
        located.finding("warning", ("spec", "connectionDetails", name), reason)
        for name in names
        if any(part in name.lower().replace("-", "") for part in _SECRETS)
    ]


def named_requirement(slo: Slo) -> str | None:
    """The key in the annotation."""
    return (slo.annotations or {}).get(REQUIREMENT)


def owner(
    located: Located, slo: Slo, by_name: Sequence[Pinning], by_key: Mapping[str, Pinning]
) -> tuple[Pinning | None, list[Finding]]:
    """The requirement that the SLO belongs to; None where it makes a new one.

    That of the annotation; else the one that pins an SLO of this name, of several the one of the same service.
    """

    def told(severity: Severity, reason: str) -> list[Finding]:
        path = ("metadata", "annotations", REQUIREMENT) if key else ("metadata", "name")
        return [located.finding(severity, path, reason)]

    key = named_requirement(slo)
    if key is not None and key in by_key:
        return by_key[key], []
    findings = told("warning", f"there is no requirement {key}") if key else []
    same = [each for each in by_name if slos.service_name(each.service) == slo.service]
    candidates = same if len(by_name) > 1 and same else list(by_name)
    if len(candidates) > 1:
        shown = ", ".join(each.key for each in candidates[:5])
        key = None
        reason = f"{shown} have an SLO of this name: say which is meant by the annotation {REQUIREMENT}"
        return None, told("error", reason)
    return (candidates[0] if candidates else None), findings


def kept(slo: Slo, service: str | None) -> Slo:
    """The SLO as a requirement of that service has it: without what the requirement says itself."""
    annotations = {name: value for name, value in (slo.annotations or {}).items() if name != REQUIREMENT}
    own = None if slo.service == slos.service_name(service) else slo.service
    return slo.model_copy(update={"annotations": annotations or None, "service": own})


def exported(slo: Slo, service: str | None, key: str) -> dict[str, Any]:
    """The OpenSLO object of a requirement's SLO, with the annotation that leads back to it."""
    annotated = slo.model_copy(update={"annotations": {**(slo.annotations or {}), REQUIREMENT: key}})
    return slos.document_of(annotated, service)


def with_own_indicators(slo: Slo) -> Slo:
    """The SLO with the SLIs that it pins in the place of references to them."""
    objectives = [
        each.model_copy(update={"indicator_ref": None}) if each.indicator is not None else each
        for each in slo.objectives
    ]
    own = {"indicator_ref": None} if slo.indicator is not None else {}
    return slo.model_copy(update={"objectives": objectives, **own})
