"""The lifecycle against a model of it: any sequence of what people do, on the real service."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle import PATH, created, moved
from plumbline_requirements.requirements.rules import LEGAL, Status

STATES = [status.value for status in Status]
ACTS = st.one_of(
    st.tuples(st.just("edit"), st.sampled_from(["alice", "bob"]), st.sampled_from(["A", "B"])),
    st.tuples(st.just("move"), st.sampled_from(["alice", "bob", "rita"]), st.sampled_from(STATES)),
    st.tuples(st.just("review"), st.sampled_from(["bob", "rita"]), st.sampled_from(["approve", "request_changes"])),
    st.tuples(st.just("discard"), st.just("alice"), st.just("")),
    st.tuples(st.just("restore"), st.just("alice"), st.integers(1, 6)),
    st.tuples(st.just("stale"), st.just("alice"), st.just("")),
)


@dataclass
class Model:
    """What the requirement must be. alice and bob are editors of its team, bob and rita are reviewers."""

    title: str = "A"
    status: str = "draft"
    revision: int = 1
    in_force: int | None = None
    authors: set[str] = field(default_factory=lambda: {"alice"})
    titles: dict[int, str] = field(default_factory=lambda: {1: "A"})
    states: dict[int, str] = field(default_factory=lambda: {1: "draft"})

    def next(self, title: str, status: str) -> None:
        self.revision += 1
        self.title, self.status = title, status
        self.titles[self.revision], self.states[self.revision] = title, status
        if status in ("active", "deprecated"):
            self.in_force = self.revision
        elif status == "retired":
            self.in_force = None

    def edit(self, who: str, title: str) -> int:
        if self.status in ("deprecated", "retired"):
            return 409
        if title == self.title:
            return 200
        self.authors = {who} if self.revision == self.in_force else self.authors | {who}
        self.next(title, "draft")
        return 200

    def move(self, who: str, to: str) -> int:
        if Status(to) not in LEGAL[Status(self.status)]:
            return 409
        decision = to in ("approved", "rejected")
        if decision and who == "alice":
            return 403
        if decision and who in self.authors:
            return 409
        if who == "rita" and self.status != "in_review":
            return 403
        self.next(self.title, to)
        return 200

    def review(self, who: str, decision: str) -> int:
        if self.status != "in_review" or who in self.authors:
            return 409
        self.next(self.title, {"approve": "approved", "request_changes": "draft"}[decision])
        return 201

    def discard(self) -> int:
        if self.in_force is None or self.in_force == self.revision:
            return 409
        self.authors = set()
        self.next(self.titles[self.in_force], self.states[self.in_force])
        return 200

    def restore(self, revision: int) -> int:
        if revision not in self.titles:
            return 404
        return self.edit("alice", self.titles[revision])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(acts=st.lists(ACTS, max_size=14))
async def test_whatever_people_do_it_is_where_the_model_says(caller: Any, acts: list[tuple[str, str, Any]]) -> None:
    people = {
        "alice": caller("editor", subject="alice"),
        "bob": caller("editor", "reviewer", subject="bob"),
        "rita": caller("reviewer", subject="rita", teams=()),
    }
    model = Model()
    id = (await created(people["alice"], title="A", owner_team="payments"))["id"]
    for act, who, what in acts:
        match = {"If-Match": f'"{model.revision}"'}
        client: httpx.AsyncClient = people[who]
        if act == "edit":
            wanted = model.edit(who, what)
            response = await client.patch(f"{PATH}/{id}", json={"title": what}, headers=match)
        elif act == "move":
            wanted = model.move(who, what)
            response = await client.post(f"{PATH}/{id}/transitions", json={"to": what}, headers=match)
        elif act == "review":
            revision = model.revision
            wanted = model.review(who, what)
            response = await client.post(f"{PATH}/{id}/reviews", json={"decision": what, "revision": revision})
        elif act == "restore":
            wanted = model.restore(what)
            response = await client.post(f"{PATH}/{id}/restore", json={"revision": what}, headers=match)
        elif act == "discard":
            wanted = model.discard()
            response = await client.post(f"{PATH}/{id}/discard", json={}, headers=match)
        else:
            wanted = 412
            response = await client.patch(f"{PATH}/{id}", json={"title": "Z"}, headers={"If-Match": '"999"'})
        assert response.status_code == wanted, (act, who, what, response.text)
        now = (await people["alice"].get(f"{PATH}/{id}")).json()
        assert (now["title"], now["status"], now["revision"], now["in_force"]) == (
            model.title,
            model.status,
            model.revision,
            model.in_force,
        )
    history = (await people["alice"].get(f"{PATH}/{id}/revisions", params={"limit": 100})).json()
    assert [(item["revision"], item["status"]) for item in reversed(history["items"])] == list(model.states.items())


async def test_two_hundred_writers_lose_no_update_and_make_no_double(alice: httpx.AsyncClient) -> None:
    id = (await created(alice))["id"]

    # All at once at first, then few at a time: every try of the losers would only meet the others' again.
    first, few = asyncio.Event(), asyncio.Semaphore(4)
    tries = 0

    async def tried(number: int) -> bool:
        nonlocal tries
        now = await alice.get(f"{PATH}/{id}")
        tries += 1
        if tries == 200:
            first.set()
        if tries <= 200:
            await first.wait()
        written = await alice.patch(
            f"{PATH}/{id}",
            json={"description": f"{now.json()['description']}{number},"},
            headers={"If-Match": now.headers["etag"]},
        )
        assert written.status_code in (200, 412, 503), written.text
        return written.status_code == 200

    async def add(number: int) -> None:
        if await tried(number):
            return
        while True:
            async with few:
                if await tried(number):
                    return

    await asyncio.gather(*(add(number) for number in range(200)))
    now = (await alice.get(f"{PATH}/{id}")).json()
    assert sorted(int(part) for part in now["description"].split(",")[:-1]) == list(range(200))
    assert now["revision"] == 201
    assert (await alice.get(f"{PATH}/{id}/revisions", params={"limit": 1})).json()["total"] == 201


async def test_two_hundred_requests_with_one_key_create_one(alice: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "two-hundred"}
    answers = await asyncio.gather(*(alice.post(PATH, json={"title": "Once"}, headers=headers) for _ in range(200)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await alice.get(PATH)).json()["total"] == 1


async def test_of_two_hundred_transitions_of_one_revision_one_happens(alice: httpx.AsyncClient) -> None:
    id = (await created(alice))["id"]
    await moved(alice, id, "in_review")
    answers = await asyncio.gather(
        *(
            alice.post(f"{PATH}/{id}/transitions", json={"to": "draft"}, headers={"If-Match": '"2"'})
            for _ in range(200)
        )
    )
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 412, 503}
    assert (await alice.get(f"{PATH}/{id}")).json()["revision"] == 3
