"""The SQL of the lease: of any number of processes one evaluates at a time."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_CLAIM = text(
    "INSERT INTO evaluator_lease (id, holder, token, until)"
    " VALUES (1, :holder, 1, clock_timestamp() + make_interval(secs => :seconds))"
    " ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, until = excluded.until,"
    "  token = evaluator_lease.token + (evaluator_lease.holder <> excluded.holder)::int"
    " WHERE evaluator_lease.holder = excluded.holder OR evaluator_lease.until < clock_timestamp() RETURNING token"
)
_RELEASE = text("UPDATE evaluator_lease SET until = clock_timestamp() WHERE holder = :holder")
_ALONE = text("SELECT 1 FROM evaluator_lease WHERE holder = :holder AND token = :token FOR UPDATE")
_HOLDS = text("SELECT 1 FROM evaluator_lease WHERE holder = :holder AND token = :token FOR SHARE")


async def claim(session: AsyncSession, holder: UUID, seconds: float) -> int | None:
    """Take or keep the lease for so long; its token, or None while another process holds it."""
    row = (await session.execute(_CLAIM, {"holder": holder, "seconds": seconds})).one_or_none()
    return None if row is None else int(row.token)


async def release(session: AsyncSession, holder: UUID) -> None:
    """Let the next process take over at once."""
    await session.execute(_RELEASE, {"holder": holder})


async def still_holds(session: AsyncSession, holder: UUID, token: int) -> bool:
    """Whether the lease is still this holder's; nobody can take it until the transaction ends."""
    return (await session.execute(_HOLDS, {"holder": holder, "token": token})).first() is not None


async def holds_alone(session: AsyncSession, holder: UUID, token: int) -> bool:
    """As `still_holds`; besides, no evaluation writes until the transaction ends."""
    return (await session.execute(_ALONE, {"holder": holder, "token": token})).first() is not None
