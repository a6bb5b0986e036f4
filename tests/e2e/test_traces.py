"""One trace from the gateway's POST through outbox, NATS and consumers to the search index."""

from typing import Any

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
    (REQUIREMENTS, "INSERT requirements"): {
        "db.system.name": "postgresql",
        "db.query.summary": "INSERT requirements",
    },
    (REQUIREMENTS, f"publish {CREATED}"): MESSAGE | SEND,
    (SEARCH, f"process {CREATED}"): MESSAGE | PROCESS | {"messaging.consumer.group.name": "search"},
    (SEARCH, f"publish {INDEXED}"): MESSAGE | SEND | {"messaging.destination.name": f"plumbline.{INDEXED}"},
    (ANALYSIS, f"process {CREATED}"): MESSAGE | PROCESS | {"messaging.consumer.group.name": "analysis"},
}


async def posted(caller: Any, receiver: Any, title: str) -> list[Any]:
    """The spans of the POST of one requirement, once those that are expected are all there."""
    response = await caller("editor").post(PATH, json={"title": title})
    assert response.status_code == 201
    spans: list[Any] = await receiver.whole(response.headers["x-trace-id"], EXPECTED)
    return spans


async def test_one_trace_leads_from_the_post_to_the_search_index(caller: Any, receiver: Any) -> None:
    spans = await posted(caller, receiver, "Orders are confirmed at once")
    by_id = {span.span_id: span for span in spans}
    for (service, name), (kind, parent) in EXPECTED.items():
        [span] = [each for each in spans if (each.service, each.name) == (service, name)]
        assert span.kind == kind, (service, name)
        above = by_id.get(span.parent_id)
        assert (above and (above.service, above.name)) == parent, (service, name)
    assert len(by_id) == len(spans)
    assert [span.name for span in spans if span.parent_id and span.parent_id not in by_id] == []
    assert [span.name for span in spans if not span.parent_id] == [f"POST {PATH}"]
    assert {span.service for span in spans} == {GATEWAY, REQUIREMENTS, SEARCH, ANALYSIS}


async def test_spans_carry_the_attributes_of_the_conventions(caller: Any, receiver: Any) -> None:
    spans = {(span.service, span.name): span for span in await posted(caller, receiver, "Orders leave within a day")}
    for place, attributes in ATTRIBUTES.items():
        found = {name: str(spans[place].attributes.get(name)) for name in attributes}
        assert found == attributes, place
    assert spans[REQUIREMENTS, f"POST {PATH}"].attributes["http.response.status_code"] == 201


async def test_a_message_has_one_id_on_both_sides_of_the_bus(caller: Any, receiver: Any) -> None:
    spans = {(span.service, span.name): span for span in await posted(caller, receiver, "Orders are paid once")}
    places = ((REQUIREMENTS, f"publish {CREATED}"), (SEARCH, f"process {CREATED}"), (ANALYSIS, f"process {CREATED}"))
    assert len({spans[place].attributes["messaging.message.id"] for place in places}) == 1


async def test_no_value_of_a_caller_stands_in_a_span_of_the_database(caller: Any, receiver: Any) -> None:
    spans = await posted(caller, receiver, "Orders of Mrs Featherstonehaugh are private")
    statements = [span.attributes["db.query.text"] for span in spans if "db.query.text" in span.attributes]
    assert statements
    assert not any("Featherstonehaugh" in statement for statement in statements)


async def test_the_callers_own_trace_goes_on(caller: Any, receiver: Any, until: Any) -> None:
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    response = await caller("viewer").get(PATH, headers={"traceparent": f"00-{trace_id}-{parent}-01"})
    assert response.headers["x-trace-id"] == trace_id

    async def entry() -> Any:
        return next(
            (span for span in receiver.of(trace_id) if (span.service, span.kind) == (GATEWAY, "SERVER")), None
        )

    assert (await until(entry, 20, "the gateway's span")).parent_id == parent
