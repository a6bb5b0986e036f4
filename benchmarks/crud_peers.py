"""What `bench crud` compares with: the founding decision's first pattern, and the limit."""

import os
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import JSON, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

COLUMNS = (
    "id", "revision", "title", "description", "statement", "rationale", "type", "priority", "owner_team",
    "service", "slos", "verification_method", "labels", "fingerprint", "status", "created_at", "created_by",
    "updated_at", "updated_by", "verdict",
)  # fmt: skip


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "requirements"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int]
    revision: Mapped[int]
    title: Mapped[str]
    description: Mapped[str]
    statement: Mapped[str]
    rationale: Mapped[str]
    type: Mapped[str]
    priority: Mapped[str]
    owner_team: Mapped[str | None]
    service: Mapped[str | None]
    slos: Mapped[Any] = mapped_column(JSON)
    verification_method: Mapped[str]
    labels: Mapped[Any] = mapped_column(JSON)
    fingerprint: Mapped[str]
    status: Mapped[str]
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    updated_at: Mapped[datetime]
    updated_by: Mapped[str]
    verdict: Mapped[Any] = mapped_column(JSON)


class Item(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    number: int
    revision: int
    title: str
    description: str
    statement: str
    rationale: str
    type: str
    priority: str
    owner_team: str | None
    service: str | None
    slos: list[Any]
    verification_method: str
    labels: dict[str, str]
    fingerprint: str
    status: str
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    verdict: Any


class Page(BaseModel):
    items: list[Item]
    total: int


def sync_sqlalchemy() -> FastAPI:
    """Sync route, sync session, psycopg, `query().offset().limit()` and `count()`, validated responses."""
    engine = create_engine(os.environ["BENCH_DSN"].replace("+asyncpg", "+psycopg"), pool_size=10, max_overflow=0)
    sessions = sessionmaker(engine)
    app = FastAPI()

    def open_session() -> Any:
        with sessions() as session:
            yield session

    @app.get("/readyz")
    def ready() -> str:
        return "ok"

    @app.get("/api/v1/requirements", response_model=Page)
    def page(skip: int = 0, limit: int = 50, session: Session = Depends(open_session)) -> Any:
        query = session.query(Row)
        return {
            "items": query.order_by(Row.id.desc()).offset(skip).limit(limit).all(),
            "total": query.count(),
        }

    @app.get("/api/v1/requirements/{id}", response_model=Item)
    def read(id: UUID, session: Session = Depends(open_session)) -> Any:
        found = session.get(Row, id)
        if found is None:
            raise HTTPException(404)
        return found

    return app


def raw_asyncpg() -> Starlette:
    """A bare Starlette route: prepared asyncpg queries, orjson, no authentication, no documents, no metrics."""
    state: dict[str, asyncpg.Pool] = {}
    columns = ", ".join(COLUMNS)
    one = f"SELECT {columns} FROM requirements WHERE id = $1"
    many = f"SELECT {columns} FROM requirements ORDER BY id DESC OFFSET $1 LIMIT $2"

    async def pool() -> asyncpg.Pool:
        if "pool" not in state:
            state["pool"] = await asyncpg.create_pool(
                os.environ["BENCH_DSN"].replace("+asyncpg", ""),
                min_size=10,
                max_size=10,
                server_settings={"jit": "off"},
                init=_codecs,
            )
        return state["pool"]

    async def ready(request: Request) -> Response:
        await pool()
        return Response("ok")

    async def page(request: Request) -> Response:
        skip = int(request.query_params.get("skip", 0))
        limit = int(request.query_params.get("limit", 50))
        async with (await pool()).acquire() as connection:
            rows = await connection.fetch(many, skip, limit)
            total = await connection.fetchval("SELECT count(*) FROM requirements")
        body = orjson.dumps({"items": [dict(row) for row in rows], "total": total})
        return Response(body, media_type="application/json")

    async def read(request: Request) -> Response:
        async with (await pool()).acquire() as connection:
            row = await connection.fetchrow(one, UUID(request.path_params["id"]))
        if row is None:
            return Response(status_code=404)
        return Response(orjson.dumps(dict(row)), media_type="application/json")

    return Starlette(
        routes=[
            Route("/readyz", ready),
            Route("/api/v1/requirements", page),
            Route("/api/v1/requirements/{id}", read),
        ]
    )


async def _codecs(connection: Any) -> None:
    await connection.set_type_codec("jsonb", encoder=orjson.dumps, decoder=orjson.loads, schema="pg_catalog")
    # The standard library's UUID, as orjson writes it; asyncpg's own subclass is not known to orjson.
    await connection.set_type_codec("uuid", encoder=str, decoder=str, schema="pg_catalog")
