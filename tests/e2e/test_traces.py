"""One trace from the gateway's POST through outbox, NATS and consumers to the search index."""

from typing import Any

CREATED = "requirements.requirement.created.v1"
GATEWAY, REQUIREMENTS, SEARCH, ANALYSIS = (
    f"plumbline-{name}" for name in ("gateway", "requirements", "search", "analysis")
)
# Each span by its service and name, with its kind and its parent.
EXPECTED: dict[tuple[str, str], tuple[str, tuple[str, str] | None]] = {
    (GATEWAY, "POST /api/v1/requirements"): ("SERVER", None),
    (GATEWAY, "POST"): ("CLIENT", (GATEWAY, "POST /api/v1/requirements")),
    (REQUIREMENTS, "POST /api/v1/requirements"): ("SERVER", (GATEWAY, "POST")),
    (REQUIREMENTS, "INSERT requirements"): ("CLIENT", (REQUIREMENTS, "POST /api/v1/requirements")),
    (REQUIREMENTS, "INSERT outbox"): ("CLIENT", (REQUIREMENTS, "POST /api/v1/requirements")),
    (REQUIREMENTS, f"publish {CREATED}"): ("PRODUCER", (REQUIREMENTS, "POST /api/v1/requirements")),
    (SEARCH, f"process {CREATED}"): ("CONSUMER", (REQUIREMENTS, f"publish {CREATED}")),
    (SEARCH, "embed document"): ("INTERNAL", (SEARCH, f"process {CREATED}")),
    (SEARCH, "INSERT search_documents"): ("CLIENT", (SEARCH, f"process {CREATED}")),
    (SEARCH, "publish search.document.indexed.v1"): ("PRODUCER", (SEARCH, f"process {CREATED}")),
    (ANALYSIS, f"process {CREATED}"): ("CONSUMER", (REQUIREMENTS, f"publish {CREATED}")),
    (ANALYSIS, "INSERT watched_requirements"): ("CLIENT", (ANALYSIS, f"process {CREATED}")),
}


async def test_one_trace_leads_from_the_post_to_the_search_index(caller: Any, receiver: Any, until: Any) -> None:
    client = caller("editor")
    response = await client.post("/api/v1/requirements", json={"title": "Orders are confirmed at once"})
    assert response.status_code == 201
    trace_id = response.headers["x-trace-id"]

    async def whole() -> bool:
        return set(EXPECTED) <= {(span.service, span.name) for span in receiver[0].of(trace_id)}

    await until(whole, 20, f"all of {sorted(EXPECTED)}")
    spans = receiver[0].of(trace_id)
    by_id = {span.span_id: span for span in spans}
    for (service, name), (kind, parent) in EXPECTED.items():
        [span] = [each for each in spans if (each.service, each.name) == (service, name)]
        assert span.kind == kind, (service, name)
        above = by_id.get(span.parent_id)
        assert (above and (above.service, above.name)) == parent, (service, name)
    assert [span.name for span in spans if span.parent_id and span.parent_id not in by_id] == []


async def test_spans_carry_the_attributes_of_the_conventions(caller: Any, receiver: Any, until: Any) -> None:
    client = caller("editor")
    response = await client.post("/api/v1/requirements", json={"title": "Orders are shipped within a day"})
    trace_id = response.headers["x-trace-id"]

    async def processed() -> list[Any]:
        return [span for span in receiver[0].of(trace_id) if span.kind == "CONSUMER"]

    await until(processed, 20, "a consumer's span")
    spans = {(span.service, span.kind): span.attributes for span in receiver[0].of(trace_id)}
    server = spans[(REQUIREMENTS, "SERVER")]
    assert server["http.request.method"] == "POST"
    assert server["http.route"] == "/api/v1/requirements"
    assert server["http.response.status_code"] == 201
    publish = spans[(REQUIREMENTS, "PRODUCER")]
    assert publish["messaging.system"] == "nats"
    assert publish["messaging.destination.name"] == f"plumbline.{CREATED}"
    assert publish["messaging.operation.type"] == "send"


async def test_the_callers_own_trace_goes_on(caller: Any) -> None:
    response = await caller("viewer").get(
        "/api/v1/requirements", headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    )
    assert response.headers["x-trace-id"] == "0af7651916cd43dd8448eb211c80319c"
