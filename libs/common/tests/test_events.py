import json
from pathlib import Path
from typing import Any

import pytest

from plumbline_common import asyncapi
from plumbline_common.events import Event, registry
from plumbline_common.specs import SERVICES


def holds(whole: Any, part: Any) -> bool:
    """Whether `whole` has all that `part` has; members that were added since may be there too."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and holds(whole[name], part[name]) for name in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(holds, whole, part))
    return bool(whole == part)


SAMPLES = Path(__file__).parent / "events"


@pytest.mark.parametrize("subject", list(registry()))
def test_what_was_once_published_can_be_read_for_ever(subject: str) -> None:
    """The samples are committed: a breaking change of an event fails here and needs a v2."""
    sample = json.loads((SAMPLES / f"{subject}.json").read_text())
    kind = registry()[subject]
    event = kind.model_validate(sample, extra="ignore")
    assert event.key
    assert holds(json.loads(event.model_dump_json()), sample)


@pytest.mark.parametrize("subject", list(registry()))
def test_a_member_that_is_not_known_yet_is_passed_over(subject: str) -> None:
    sample = json.loads((SAMPLES / f"{subject}.json").read_text())
    assert registry()[subject].model_validate_json(json.dumps(sample | {"new_member": 1}), extra="ignore")


@pytest.mark.parametrize("subject", list(registry()))
def test_subjects_follow_the_one_pattern(subject: str) -> None:
    service, entity, verb, version = subject.split(".")
    assert service in SERVICES
    assert entity.isidentifier()
    assert verb.endswith(("ed", "ing"))
    assert version == "v1"


def test_the_asyncapi_document_declares_each_event_of_its_service() -> None:
    document = asyncapi.document("analysis", "1")
    mine = {subject for subject in registry() if subject.startswith("analysis.")}
    assert {name.removeprefix("send.") for name in document["operations"]} == mine
    for channel in document["channels"].values():
        for message in channel["messages"].values():
            assert message["$ref"].rsplit("/", 1)[1] in document["components"]["messages"]


def test_an_event_without_a_key_cannot_be_staged() -> None:
    with pytest.raises(TypeError, match="names no key"):
        _ = Event().key
