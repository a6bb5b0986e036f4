"""The lint through the API: asked for, and on every write."""

from typing import Any

import httpx

PATH = "/api/v1/requirements"
VAGUE = {"title": "Fast", "statement": "The checkout shall answer quickly within 300 ms."}


def rules_of(body: dict[str, Any]) -> list[str]:
    return [each["rule"] for each in body["warnings"]]


async def test_a_text_is_linted_without_being_written(alice: httpx.AsyncClient) -> None:
    response = await alice.post(f"{PATH}/lint", json={"statement": "When a customer pays, the shop shall be fast."})
    assert response.status_code == 200
    body = response.json()
    assert body["pattern"] == "event-driven"
    vague, criterion = body["findings"]
    assert (vague["rule"], vague["pointer"], vague["excerpt"]) == ("vague", "/statement", "fast")
    assert vague["source"] == "INCOSE Guide to Writing Requirements v4, R7"
    assert (criterion["rule"], criterion["start"], criterion["end"]) == ("criterion", 0, 0)
    assert (await alice.get(PATH)).json()["total"] == 0


async def test_what_is_written_is_answered_and_read_with_its_warnings(alice: httpx.AsyncClient) -> None:
    made = await alice.post(PATH, json=VAGUE)
    assert made.status_code == 201
    assert made.json()["warnings"] == [
        {
            "rule": "vague",
            "severity": "warning",
            "pointer": "/statement",
            "message": "Readers will differ on what a vague word demands: 'quickly'",
        }
    ]
    one = f"{PATH}/{made.json()['id']}"
    assert (await alice.get(one)).json() == made.json()
    headers = {"If-Match": made.headers["etag"]}
    better = await alice.patch(one, json={"statement": "The checkout shall answer within 300 ms."}, headers=headers)
    assert better.json()["warnings"] == []
    (listed,) = (await alice.get(PATH, params={"fields": "warnings"})).json()["items"]
    assert listed == {"warnings": []}


async def test_a_label_silences_a_warning(alice: httpx.AsyncClient) -> None:
    content = VAGUE | {"labels": {"lint.vague": "The law says so."}}
    made = (await alice.post(PATH, json=content)).json()
    assert made["warnings"] == []
    (finding,) = (await alice.post(f"{PATH}/lint", json=content)).json()["findings"]
    assert finding["silenced"] == "The law says so."
