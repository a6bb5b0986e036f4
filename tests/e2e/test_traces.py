"""One trace from the gateway's POST through outbox, NATS and consumers to the search index."""

from typing import Any

import pytest

PATH = "/api/v1/requirements"
CREATED = "requirements.requirement.created.v1"
INDEXED = "search.document.indexed.v1"
GATEWAY, REQUIREMENTS, SEARCH, ANALYSIS = (
    f"plumbline-{name}" for name in ("gateway", "requirements", "search", "analysis")
)
# Each span by its service and name, with its kind and its parent.
EXPECTED: dict[tuple[str, str], tuple[str, tuple[str, str] | None]] = {
    (GATEWAY, f"POST {PATH}"): ("SERVER", None),
    (GATEWAY, "POST"): ("CLIENT", (GATEWAY, f"POST {PATH}")),
    (REQUIREMENTS, f"POST {PATH}"): ("SERVER", (GATEWAY, "POST")),
    (REQUIREMENTS, "INSERT requirements"): ("CLIENT", (REQUIREMENTS, f"POST {PATH}")),
    (REQUIREMENTS, "INSERT outbox"): ("CLIENT", (REQUIREMENTS, f"POST {PATH}")),
    (REQUIREMENTS, f"publish {CREATED}"): ("PRODUCER", (REQUIREMENTS, f"POST {PATH}")),
    (SEARCH, f"process {CREATED}"): ("CONSUMER", (REQUIREMENTS, f"publish {CREATED}")),
    (SEARCH, "embed document"): ("INTERNAL", (SEARCH, f"process {CREATED}")),
    (SEARCH, "INSERT inbox"): ("CLIENT", (SEARCH, f"process {CREATED}")),
    (SEARCH, "INSERT search_documents"): ("CLIENT", (SEARCH, f"process {CREATED}")),
    (SEARCH, "INSERT outbox"): ("CLIENT", (SEARCH, f"process {CREATED}")),
    (SEARCH, f"publish {INDEXED}"): ("PRODUCER", (SEARCH, f"process {CREATED}")),
    (ANALYSIS, f"process {CREATED}"): ("CONSUMER", (REQUIREMENTS, f"publish {CREATED}")),
    (ANALYSIS, "INSERT inbox"): ("CLIENT", (ANALYSIS, f"process {CREATED}")),
    (ANALYSIS, "INSERT watched_requirements"): ("CLIENT", (ANALYSIS, f"process {CREATED}")),
}
HTTP = {"http.request.method": "POST", "http.route": PATH, "http.response.status_code": "201"}
MESSAGE = {"messaging.system": "nats", "messaging.destination.name": f"plumbline.{CREATED}"}
SEND = {"messaging.operation.name": "publish", "messaging.operation.type": "send"}
PROCESS = {"messaging.operation.name": "process", "messaging.operation.type": "process"}
# What the semantic conventions ask of a span. Envoy can only write strings, so the values are compared as such.
ATTRIBUTES: dict[tuple[str, str], dict[str, str]] = {
    (GATEWAY, f"POST {PATH}"): HTTP,
    (GATEWAY, "POST"): HTTP,
    (REQUIREMENTS, f"POST {PATH}"): HTTP | {"url.path": PATH, "url.scheme": "http"},
    (REQUIREMENTS, "INSERT outbox"): {"db.system.name": "postgresql", "db.query.summary": "INSERT outbox"},
    (REQUIREMENTS, f"publish {CREATED}"): MESSAGE | SEND,
    (SEARCH, f"process {CREATED}"): MESSAGE | PROCESS | {"messaging.consumer.group.name": "search-indexer"},
    (SEARCH, f"publish {INDEXED}"): MESSAGE | SEND | {"messaging.destination.name": f"plumbline.{INDEXED}"},
    (ANALYSIS, f"process {CREATED}"): MESSAGE | PROCESS | {"messaging.consumer.group.name": "analysis"},
}


@pytest.fixture(scope="session")
async def trace(stack: Any, receiver: Any) -> dict[tuple[str, str], list[Any]]:
    """The spans of one POST by service and name, once they are all there."""
    async with _client(stack) as client:
        response = await client.post(PATH, json={"title": "Orders are confirmed at once"})
    assert response.status_code == 201
    spans: dict[tuple[str, str], list[Any]] = {}
    for span in await receiver.whole(response.headers["x-trace-id"], EXPECTED):
        spans.setdefault((span.service, span.name), []).append(span)
    return spans


def _client(stack: Any) -> Any:
    import httpx

    headers = {"Authorization": f"Bearer {stack.token('editor')}"}
    return httpx.AsyncClient(base_url=stack.urls["gateway"], headers=headers, trust_env=False)
