"""Backup and restore over a real PostgreSQL: of three small schemas with what the services' schemas have."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from plumbline_cli.backups import backup, manifest, restore
from plumbline_cli.backups import postgres as programs
from plumbline_cli.backups.contents import Contents, differences
from plumbline_cli.backups.manifest import Dump, Manifest
from plumbline_cli.backups.postgres import Access, Failed
from plumbline_cli.main import app
from plumbline_common import audit

SERVICES = ("requirements", "search", "analysis")
TABLES = """
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('0007');
REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {service};
CREATE TYPE mood AS ENUM ('calm', 'loud');
CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY, said text, mood mood, place public.vector(2));
INSERT INTO notes (said, mood, place) VALUES ('one', 'calm', '[1,2]'), ('two', 'loud', NULL), (NULL, NULL, NULL);
CREATE TABLE points (day date NOT NULL, value float8) PARTITION BY RANGE (day);
CREATE TABLE points_1 PARTITION OF points FOR VALUES FROM ('2026-05-01') TO ('2026-05-02');
INSERT INTO points VALUES ('2026-05-01', 0.1), ('2026-05-01', 'NaN');
CREATE FUNCTION loudest() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = {service} AS
  $$ SELECT count(*) FROM points $$;
"""
AUDIT = """
CREATE TABLE audit_entries (seq bigint GENERATED ALWAYS AS IDENTITY, entry text, digest bytea, entity_id text,
  actor text, action text, at timestamptz, position bigint UNIQUE, hash bytea)"""
ENTRY = "INSERT INTO audit_entries (entry, digest, position, hash) VALUES ($1, $2, $3, $4)"


@pytest.fixture
async def accesses(postgres: Any) -> AsyncIterator[list[Access]]:
    """Of three schemas that hold rows, and are empty again afterwards."""
    found = [Access(service, make_url(postgres.owner_dsn(service))) for service in SERVICES]
    for access in found:
        async with access.connected() as connection:
            await connection.execute(TABLES.format(service=access.service))
            if access.service == "requirements":
                await log(connection)
    yield found
    for access in found:
        async with access.connected() as connection:
            await connection.execute(programs._EMPTY.format(schema=access.service))
    await postgres.initialise()  # default privileges


async def log(connection: asyncpg.Connection) -> None:
    """Three sealed entries and one that is not sealed yet."""
    await connection.execute(AUDIT)
    for statement in audit.GUARD:
        await connection.execute(statement)
    sealed = audit.GENESIS
    for position in (1, 2, 3, None):
        entry = audit.canonical({"action": "updated", "revision": position})
        digest = audit.digest(entry)
        sealed = b"" if position is None else audit.link(sealed, position, digest)
        await connection.execute(ENTRY, entry, digest, position, sealed or None)


async def again(accesses: list[Access]) -> dict[str, Contents]:
    return {access.service: await restore._verified(access) for access in accesses}


def as_superuser(postgres: Any) -> Any:
    return asyncpg.connect(postgres.asyncpg_dsn())


async def emptied(postgres: Any) -> None:
    connection = await as_superuser(postgres)
    for service in SERVICES:
        await connection.execute(f"DROP SCHEMA {service} CASCADE")
    await connection.close()
    await postgres.initialise()


# --- There and back -------------------------------------------------------------------------------------


async def test_what_was_dropped_is_as_it_was(postgres: Any, accesses: list[Access], tmp_path: Path) -> None:
    folder, made = await backup.take(accesses, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert {path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())} == {0}
    await emptied(postgres)
    told = manifest.read(folder)
    assert told == made
    manifest.check(folder, told)
    await restore.refuse_unfit(accesses, replace=False)
    found = await restore.put_back(accesses, folder, told)
    assert restore.faults(told, found) == []
    requirements = found["requirements"]
    assert (requirements.revision, requirements.tables["notes"].rows) == ("0007", 3)
    assert requirements.audit is not None
    assert (requirements.audit.entries, requirements.audit.position) == (4, 3)
    assert {name: contents.rows for name, contents in found.items()} == {
        "requirements": 10,
        "search": 6,
        "analysis": 6,
    }


async def test_the_service_may_do_what_it_might_before(postgres: Any, accesses: list[Access], tmp_path: Path) -> None:
    folder, made = await backup.take(accesses, tmp_path)
    await restore.put_back(accesses, folder, made)
    async with accesses[1].connected() as owner:
        await owner.execute("CREATE TABLE later (id int)")
    service = await asyncpg.connect(postgres.asyncpg_dsn("search"))
    try:
        assert await service.fetchval("INSERT INTO notes (said) VALUES ('four') RETURNING id") == 4
        assert await service.fetchval("SELECT loudest()") == 2
        assert await service.fetchval("SELECT count(*) FROM later") == 0
        for refused in ("UPDATE alembic_version SET version_num = '0008'", "TRUNCATE notes", "DROP TABLE notes"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(refused)
    finally:
        await service.close()
    stranger = await asyncpg.connect(postgres.asyncpg_dsn("analysis"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await stranger.fetchval("SELECT search.loudest()")
    await stranger.close()


async def test_all_schemas_are_of_one_moment(
    accesses: list[Access], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump = programs.dump

    async def dump_late(access: Access, snapshot: str, file: Path) -> None:
        async with access.connected() as connection:
            await connection.execute("INSERT INTO notes (said) VALUES ('after the moment')")
        await dump(access, snapshot, file)

    monkeypatch.setattr(backup, "dump", dump_late)
    folder, made = await backup.take(accesses, tmp_path)
    assert {dump.contents.tables["notes"].rows for dump in made.dumps.values()} == {3}
    found = await restore.put_back(accesses, folder, made)
    assert restore.faults(made, found) == []


async def test_tables_of_a_later_release_go_with_what_is_replaced(accesses: list[Access], tmp_path: Path) -> None:
    folder, made = await backup.take(accesses, tmp_path)
    async with accesses[0].connected() as owner:
        await owner.execute(
            "CREATE TABLE later (id int); CREATE VIEW seen AS SELECT * FROM notes; DROP FUNCTION loudest;"
            "CREATE TABLE points_2 PARTITION OF points FOR VALUES FROM ('2026-05-02') TO ('2026-05-03')"
        )
    assert restore.faults(made, await restore.put_back(accesses, folder, made)) == []


# --- What is not as it was is told ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        ("DELETE FROM requirements.notes WHERE id = 2", "notes has 2 rows instead of 3"),
        ("INSERT INTO requirements.points VALUES ('2026-05-01', 1)", "points has 3 rows instead of 2"),
        ("UPDATE requirements.notes SET said = 'ten' WHERE id = 1", "notes has as many rows as in the backup (3)"),
        ("UPDATE requirements.points SET value = 0.1 + 1e-17 * 3", "points has as many rows as in the backup (2)"),
        ("UPDATE requirements.alembic_version SET version_num = '0006'", "revision 0006 instead of 0007"),
        ("DROP TABLE requirements.notes", "the table notes is missing"),
        ("SET ROLE requirements_owner; CREATE TABLE requirements.more (id int)",
         "the table more is no part of the backup"),
        ("ALTER TABLE requirements.notes ALTER id RESTART WITH 2; SELECT nextval('requirements.notes_id_seq')",
         "the sequence notes_id_seq stands at 2, before 3"),
        ("UPDATE requirements.audit_entries SET entry = '{}' WHERE position = 2",
         "the audit log is broken, position 2: the entry is not what was written"),
        ("DELETE FROM requirements.audit_entries WHERE position = 2",
         "the audit log is broken, position 3: after position 1 comes 3"),
        ("DELETE FROM requirements.audit_entries WHERE position = 3", "the audit log ends at 2:"),
    ],
)  # fmt: skip
async def test_what_is_not_as_the_manifest_says_is_named(
    postgres: Any, accesses: list[Access], tampering: str, said: str
) -> None:
    before = await again(accesses)
    connection = await as_superuser(postgres)
    await connection.execute(f"SET session_replication_role = replica; {tampering}")  # past the triggers
    await connection.close()
    after = await again(accesses)
    found = {service: list(differences(before[service], after[service])) for service in SERVICES}
    assert (found["search"], found["analysis"]) == ([], [])
    assert any(said in each for each in found["requirements"]), found


async def test_a_log_that_was_broken_before_is_backed_up_and_told_of(
    postgres: Any, accesses: list[Access], tmp_path: Path
) -> None:
    connection = await as_superuser(postgres)
    await connection.execute(
        "SET session_replication_role = replica;"
        "UPDATE requirements.audit_entries SET hash = digest WHERE position = 2"
    )
    await connection.close()
    variables = {
        f"PLUMBLINE_{each.service.upper()}_OWNER_DATABASE_URL": each.url.render_as_string(hide_password=False)
        for each in accesses
    }
    done = await asyncio.to_thread(CliRunner().invoke, app, ["backup", str(tmp_path)], env=variables)
    assert done.exit_code == 1
    assert "the backup is whole, but the audit log of requirements is broken, position 2" in done.stderr
    (folder,) = tmp_path.iterdir()
    made = manifest.read(folder)
    assert restore.faults(made, await restore.put_back(accesses, folder, made)) == [
        "requirements: the audit log is broken, position 2: the hash does not follow from the entries before it"
    ]


# --- What must not happen -------------------------------------------------------------------------------


async def test_rows_are_given_up_only_where_that_is_said(accesses: list[Access]) -> None:
    with pytest.raises(Failed, match=r"^requirements\.\w+ holds rows: --replace gives up what is there now$"):
        await restore.refuse_unfit(accesses, replace=False)
    await restore.refuse_unfit(accesses, replace=True)


async def test_nothing_is_restored_under_a_service_that_runs(postgres: Any, accesses: list[Access]) -> None:
    service = await asyncpg.connect(postgres.asyncpg_dsn("search"))
    with pytest.raises(Failed, match=r"^search has 1 sessions in this database: stop the services first$"):
        await restore.refuse_unfit(accesses, replace=True)
    await service.close()


async def test_one_who_does_not_own_the_schema_restores_nothing(postgres: Any, accesses: list[Access]) -> None:
    service = Access("search", make_url(postgres.dsn("search")))
    with pytest.raises(Failed, match="search does not own the schema search"):
        await restore.refuse_unfit([service], replace=True)


async def test_a_restore_that_breaks_off_leaves_what_was_there(accesses: list[Access], tmp_path: Path) -> None:
    folder, made = await backup.take(accesses, tmp_path)
    before = await again(accesses)
    file = folder / made.dumps["requirements"].file
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(Failed, match=r"^requirements: it could not be restored and is as it was: "):
        await restore.put_back(accesses, folder, made)
    assert await again(accesses) == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.unlink(), "is missing"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "bytes instead of"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1] + b"?"), "is not what was written"),
    ],
)
def test_a_file_that_is_not_what_was_written_is_found_before_anything_is_touched(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    file = tmp_path / "search.dump"
    file.write_bytes(b"PGDMP and so on")
    dump = Dump(file.name, 15, manifest.sha256(file), Contents("0008", {}, {}, None))
    manifest.write(tmp_path, Manifest("2026-05-01T00:00:00Z", "0.1.0", "18.6", {"search": dump}))
    assert CliRunner().invoke(app, ["restore", "--check", str(tmp_path)]).exit_code == 0
    damage(file)
    done = CliRunner().invoke(app, ["restore", "--replace", str(tmp_path)])
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize("broken", ["dump", "manifest.write", "manifest.sync", "manifest.publish"])
async def test_a_backup_that_fails_leaves_nothing(
    accesses: list[Access], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "the.dump")

    monkeypatch.setattr(f"plumbline_cli.backups.backup.{broken}", full)
    with pytest.raises(Failed, match=r"^the\.dump cannot be written: No space left on device$"):
        await backup.take(accesses, tmp_path)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import asyncio, json, os, signal, sys
from pathlib import Path
from sqlalchemy.engine import make_url
from plumbline_cli.backups import backup, manifest
from plumbline_cli.backups.postgres import Access

def die(*_): os.kill(os.getpid(), signal.SIGKILL)

manifest.sync = die
urls = json.loads(sys.stdin.read())
asyncio.run(backup.take([Access(name, make_url(url)) for name, url in urls.items()], Path(sys.argv[1])))
"""


async def test_a_backup_that_is_killed_leaves_nothing_that_looks_whole(
    accesses: list[Access], tmp_path: Path
) -> None:
    urls = {each.service: each.url.render_as_string(hide_password=False) for each in accesses}
    argv = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.PIPE)
    await process.communicate(json.dumps(urls).encode())
    assert process.returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".plumbline-")
    with pytest.raises(manifest.NoBackup, match=r"is no whole backup: manifest\.json cannot be read"):
        manifest.read(left)


async def test_databases_that_are_apart_have_no_moment_in_common(accesses: list[Access], tmp_path: Path) -> None:
    elsewhere = Access("search", accesses[1].url.set(database="postgres"))
    with pytest.raises(Failed, match=r"^search is not in the database of requirements"):
        await backup.take([accesses[0], elsewhere], tmp_path)


async def test_a_password_that_is_wrong_is_told_without_it(accesses: list[Access], tmp_path: Path) -> None:
    wrong = Access("search", accesses[1].url.set(password="swordfish"))
    with pytest.raises(Failed, match=r"^search: search_owner cannot connect to 127\.0\.0\.1:") as failed:
        await backup.take([wrong], tmp_path)
    assert "swordfish" not in str(failed.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is no whole backup"),
        ("{", "is no JSON"),
        ("[]", "is of another format than 1"),
        ('{"format": 2}', "is of another format than 1"),
        ('{"format": 1, "dumps": {"search": {}}}', "lacks what a manifest has: KeyError('file')"),
    ],
)
def test_what_is_no_backup_is_told(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    done = CliRunner().invoke(app, ["restore", str(tmp_path)])
    assert done.exit_code == 2
    assert said in done.stderr


def test_without_a_stack_or_addresses_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["backup", str(tmp_path), "--folder", str(tmp_path / "none")])
    assert done.exit_code == 2
    assert "holds no stack, and PLUMBLINE_<SERVICE>_OWNER_DATABASE_URL are not set" in done.stderr
    assert list(tmp_path.iterdir()) == []
