"""Many requirements, copied by PostgreSQL from one that was written through the API."""

import asyncpg
import httpx

from plumbline_stack.postgres import PostgresServer

SLO = {
    "name": "latency",
    "indicator": {
        "ratioMetric": {
            "good": {"metricSource": {"spec": {"metric": "http.server.request.duration", "le": 0.3}}},
            "total": {"metricSource": {"spec": {"metric": "http.server.request.duration"}}},
        }
    },
    "timeWindow": [{"duration": "30d"}],
    "objectives": [{"target": 0.999}],
}
CONTENT = {
    "title": "Checkout answers 99.9 % of requests within 300 ms",
    "description": "Measured at the gateway. " * 8,
    "statement": "When a customer checks out, the service shall answer within 300 ms.",
    "service": "checkout",
    "slos": [SLO],
    "labels": {"tier": "1", "region": "eu"},
}
SERVICES, TEAMS = 200, 40
BATCH = 100_000

# The columns that differ from copy to copy; the others are the first one's.
_VARIED = """
    SELECT uuidv7() AS id, nextval(pg_get_serial_sequence('requirements', 'number')) AS number,
        'service-' || n % $2 AS service, 'team-' || n % $3 AS owner_team,
        (ARRAY['draft','in_review','approved','active','active','active','deprecated','retired'])
            [1 + abs(hashint4(n)) % 8] AS status,
        (ARRAY['availability','latency','correctness','capacity','other'])[1 + abs(hashint4(n + 1)) % 5] AS type,
        (ARRAY['must','should','could'])[1 + abs(hashint4(n + 2)) % 3] AS priority,
        'Service ' || n % $2 || ' answers ' || n AS title
    FROM generate_series($4::int, $5::int) AS n
"""
_COPY = f"""
WITH varied AS ({_VARIED}),
first AS (SELECT * FROM requirements WHERE id = $1),
made AS (
    SELECT varied.*, first.description, first.statement, first.rationale, first.slos, first.verification_method,
        first.labels, first.fingerprint, first.created_at, first.created_by, first.updated_at, first.updated_by,
        first.authors,
        CASE WHEN varied.status IN ('active', 'deprecated') THEN $6::int END AS in_force,
        replace(replace(replace(replace(replace(replace(replace(replace(replace(first.document,
            first.id::text, varied.id::text), '"REQ-' || first.number || '"', '"REQ-' || varied.number || '"'),
            first.title, varied.title), '"service":"checkout"', '"service":"' || varied.service || '"'),
            '"owner_team":null', '"owner_team":"' || varied.owner_team || '"'),
            '"status":"draft"', '"status":"' || varied.status || '"'),
            '"type":"other"', '"type":"' || varied.type || '"'),
            '"priority":"should"', '"priority":"' || varied.priority || '"'),
            '"revision":1', '"revision":' || $6::int) AS document
    FROM varied, first),
written AS (
    INSERT INTO requirements (id, number, revision, title, description, statement, rationale, type, priority,
        owner_team, service, slos, verification_method, labels, fingerprint, status, created_at, created_by,
        updated_at, updated_by, authors, in_force, reviewers, verdict, document)
    OVERRIDING SYSTEM VALUE
    SELECT id, number, $6::int, title, description, statement, rationale, type, priority,
        owner_team, service, slos, verification_method, labels, fingerprint, status, created_at, created_by,
        updated_at, updated_by, authors, in_force, '{{}}', NULL, document FROM made),
revised AS (
    INSERT INTO requirement_revisions (requirement_id, revision, at, actor, reason, status, changed, document)
    SELECT id, revision, updated_at, updated_by, '', status, '{{title}}', document
    FROM made, generate_series(1, $6::int) AS revision)
INSERT INTO requirement_count_deltas (change, status, type, priority, service, owner_team)
SELECT 1, status, type, priority, service, owner_team FROM made
"""


async def populate(
    postgres: PostgresServer, client: httpx.AsyncClient, number: int, *, revisions: int = 1
) -> list[str]:
    """`number` requirements with `revisions` each. Returns some of their ids."""
    response = await client.post("/api/v1/requirements", json=CONTENT)
    first = response.raise_for_status().json()["id"]
    connection = await asyncpg.connect(postgres.asyncpg_dsn("requirements"))
    await connection.execute("SET statement_timeout = 0")
    for begin in range(1, number, BATCH):
        end = min(begin + BATCH, number) - 1
        await connection.execute(_COPY, first, SERVICES, TEAMS, begin, end, revisions)
    ids = await connection.fetch("SELECT id FROM requirements TABLESAMPLE SYSTEM (5) ORDER BY random() LIMIT 500")
    await connection.close()
    admin = await asyncpg.connect(postgres.admin_dsn.replace("+asyncpg", ""))
    for table in ("requirements", "requirement_revisions", "requirement_count_deltas"):
        await admin.execute(f"VACUUM ANALYZE requirements.{table}")
    await admin.close()
    return [str(found["id"]) for found in ids]
