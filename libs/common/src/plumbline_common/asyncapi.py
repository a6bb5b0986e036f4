"""The AsyncAPI 3 document of a service, made from the declarations in `events.py`."""

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from plumbline_common.events import PREFIX, Event, registry

_HEADERS = {
    "type": "object",
    "required": ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "ce-sequence"],
    "properties": {
        "ce-specversion": {"const": "1.0"},
        "ce-id": {"type": "string", "format": "uuid", "description": "Unique; a double carries the same id."},
        "ce-source": {"type": "string", "examples": [f"/{PREFIX}/requirements"]},
        "ce-type": {"type": "string", "description": "Equal to the NATS subject."},
        "ce-subject": {"type": "string", "description": "The id of the entity that the event is about."},
        "ce-time": {"type": "string", "format": "date-time"},
        "ce-sequence": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "The position in the producer's log: gapless, from 1.",
        },
        "ce-traceparent": {"type": "string", "description": "W3C trace context of the origin."},
        "traceparent": {"type": "string", "description": "W3C trace context of this hop."},
        "content-type": {"const": "application/json"},
    },
}


def document(service: str, version: str, consumes: Iterable[type[Event]] = ()) -> dict[str, Any]:
    """What `service` publishes (operations `send`) and which events of others it consumes (`receive`)."""
    published = [kind for kind in registry().values() if kind.subject.startswith(f"{service}.")]
    consumed = sorted(consumes, key=lambda kind: kind.subject)
    kinds = {kind.subject: kind for kind in [*published, *consumed]}
    references, definitions = models_json_schema(
        [(kind, "serialization") for kind in kinds.values()], ref_template="#/components/schemas/{model}"
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Plumbline {service}",
            "version": version,
            "description": "CloudEvents 1.0 in binary mode on NATS JetStream, JSON bodies. "
            "Streams carry the producer's name in capitals. Expect doubles and disorder.",
        },
        "defaultContentType": "application/json",
        "channels": {
            subject: {
                "address": f"{PREFIX}.{subject}",
                "messages": {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"}},
                "bindings": {"nats": {}},
            }
            for subject, kind in kinds.items()
        },
        "operations": {
            f"{action}.{kind.subject}": {
                "action": action,
                "channel": {"$ref": f"#/channels/{kind.subject}"},
                "messages": [{"$ref": f"#/channels/{kind.subject}/messages/{kind.__name__}"}],
            }
            for action, group in (("send", published), ("receive", consumed))
            for kind in group
        },
        "components": {
            "messages": {
                kind.__name__: {
                    "name": f"{PREFIX}.{subject}",
                    "title": kind.__name__,
                    "summary": (kind.__doc__ or "").strip().split("\n")[0],
                    "contentType": "application/json",
                    "headers": {"$ref": "#/components/schemas/CloudEventHeaders"},
                    "payload": references[(kind, "serialization")],
                }
                for subject, kind in kinds.items()
            },
            "schemas": {"CloudEventHeaders": _HEADERS, **definitions.get("$defs", {})},
        },
    }
