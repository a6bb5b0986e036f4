import json
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from lifecycle import PATH, created, patched
from plumbline_common import audit


@pytest.fixture
def auditor(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("admin", subject="audra", teams=())
    return client


async def sealed(app: Any) -> None:
    while True:
        async with app.state.sessions.begin() as session:
            if not await audit.seal(session) and not await session.scalar(
                text("SELECT count(*) FROM audit_entries WHERE position IS NULL")
            ):
                return


async def lines(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    response = await client.get("/api/v1/audit/export")
    assert response.status_code == 200
    return [json.loads(line) for line in response.text.splitlines()]


def broken(exported: list[dict[str, Any]]) -> str | None:
    """The first thing that is wrong, as `plumbline audit verify` sees it."""
    chain = audit.Chain()
    for line in exported:
        sealed_hash = bytes.fromhex(line["hash"]) if line["hash"] else None
        wrong = chain.check(line["position"], line["entry"], bytes.fromhex(line["digest"]), sealed_hash)
        if wrong:
            return wrong
        told = json.loads(line["entry"])["document"]
        if line["document"] and audit.digest(line["document"]).hex() != told:
            return "the revision is not what was written"
    return None


async def test_each_change_says_who_what_when_and_from_where(
    alice: httpx.AsyncClient, auditor: httpx.AsyncClient
) -> None:
    response = await alice.post(PATH, json={"title": "A"}, headers={"X-Request-Id": "request-1"})
    id = response.json()["id"]
    await patched(alice, id, title="B")
    page = (await auditor.get("/api/v1/audit", params={"entity_id": id})).json()
    assert page["total"] == 2
    entry = page["items"][1]["entry"]
    assert (entry["action"], entry["entity"], entry["actor"], entry["revision"]) == (
        "created",
        "requirement",
        "alice",
        1,
    )
    assert (entry["request_id"], entry["changed"]) == ("request-1", ["title"])
    assert page["items"][0]["entry"]["changed"] == ["title"]
    assert (await auditor.get("/api/v1/audit", params={"action": "requirement.created"})).json()["total"] >= 1


async def test_only_auditors_read_it(alice: httpx.AsyncClient) -> None:
    assert (await alice.get("/api/v1/audit")).status_code == 403
    assert (await alice.get("/api/v1/audit/export")).status_code == 403


async def test_the_chain_holds_and_one_changed_byte_breaks_it(
    alice: httpx.AsyncClient, auditor: httpx.AsyncClient, app: Any, owner: AsyncEngine
) -> None:
    ids = [(await created(alice, title=f"number {n}"))["id"] for n in range(5)]
    written = await auditor.put("/api/v1/policies/chain", json={"required_approvals": 3})
    assert written.status_code == 200
    await alice.delete(f"{PATH}/{ids[0]}", headers={"If-Match": '"1"'})
    await sealed(app)
    assert broken(await lines(auditor)) is None
    head = (await lines(auditor))[-1]["position"]
    assert (await auditor.get("/api/v1/audit/export", params={"after": head})).text == ""
    changes = {
        "UPDATE audit_entries SET entry = replace(entry, 'alice', 'alicf') WHERE seq = :seq": "what was written",
        "UPDATE audit_entries SET hash = decode(md5('x') || md5('y'), 'hex') WHERE seq = :seq": "does not follow",
        "DELETE FROM audit_entries WHERE seq = :seq": "missing or doubled",
        "UPDATE requirement_revisions SET document = replace(document, 'number 2', 'number 3')"
        " WHERE requirement_id = :id": "the revision is not",
    }
    async with app.state.sessions() as session:
        seq = await session.scalar(
            text("SELECT seq FROM audit_entries WHERE entity_id = :id ORDER BY seq LIMIT 1"), {"id": ids[2]}
        )
    for statement, reason in changes.items():
        async with AsyncSession(owner) as session, session.begin() as transaction:
            for table in ("audit_entries", "requirement_revisions"):
                await session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            values = {"seq": seq} if ":seq" in statement else {"id": ids[2]}
            await session.execute(text(statement), values)
            rows = await exported_inside(session)
            await transaction.rollback()
        assert reason in str(broken(rows)), statement
    assert broken(await lines(auditor)) is None


async def exported_inside(session: Any) -> list[dict[str, Any]]:
    """What the export would say, in the transaction that tampers."""
    from plumbline_requirements.audits import repository, service

    rows = [*await repository.sealed_after(session, 0, 1_000_000), *await repository.unsealed_after(session, 0, 1000)]
    return [json.loads(service._line(row)) for row in rows]


async def test_entries_cannot_be_changed_or_deleted(alice: httpx.AsyncClient, app: Any, owner: AsyncEngine) -> None:
    await created(alice)
    change, delete = "UPDATE audit_entries SET actor = 'mallory'", "DELETE FROM audit_entries"
    truncate, disable = "TRUNCATE audit_entries", "ALTER TABLE audit_entries DISABLE TRIGGER USER"
    for statement in (change, delete, truncate):
        with pytest.raises(IntegrityError, match="append-only"):
            async with owner.begin() as connection:
                await connection.execute(text(statement))
    refusals = {change: "append-only", delete: "append-only", truncate: "permission", disable: "must be owner"}
    for statement, refusal in refusals.items():
        with pytest.raises(DBAPIError, match=refusal):
            async with app.state.sessions.begin() as session:
                await session.execute(text(statement))
