"""A server that speaks the contract of the requirements API, and an editor that is a script."""

import copy
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from typer.testing import CliRunner, Result

from plumbline_cli.main import app
from plumbline_common import audit

AT = "2026-05-01T10:00:00.123456Z"
LEGAL = {"draft": ["in_review"], "in_review": ["approved", "draft", "rejected"], "approved": ["active"]}
CONTENT: dict[str, Any] = {
    "description": "", "statement": "", "rationale": "", "type": "other", "priority": "should", "owner_team": None,
    "service": None, "slos": [], "verification_method": "", "labels": {},
}  # fmt: skip


class Problem(Exception):
    def __init__(self, status: int, slug: str, detail: str, **extra: Any) -> None:
        self.status = status
        self.body = {
            "type": f"urn:plumbline:problem:{slug}",
            "title": slug,
            "status": status,
            "detail": detail,
        } | extra


class Service:
    """Requirements in memory. `beforehand` runs just before the next PATCH: what another writer does."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.revisions: dict[str, list[dict[str, Any]]] = {}
        self.reviews: list[dict[str, Any]] = []
        self.answers: dict[str, tuple[bytes, dict[str, Any]]] = {}
        self.beforehand: list[Callable[[], Any]] = []
        self.failures: list[int] = []
        """Statuses that the next POSTs answer after they were done."""
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.cut: int | None = None
        """After how many bytes an export breaks off."""
        self.tokens: list[str] = []
        self.log: list[dict[str, Any]] = []
        self.templates: list[dict[str, Any]] = []
        self.chain = audit.Chain()

    def write(self, id: str, changes: dict[str, Any], by: str = "rita", reason: str = "") -> dict[str, Any]:
        before = self.documents.get(id, {})
        after = copy.deepcopy(before | changes)
        after |= {"revision": before.get("revision", 0) + 1, "updated_at": AT, "updated_by": by}
        self.documents[id] = after
        snapshot = {name: value for name, value in after.items() if name not in ("verdict", "reviewers")}
        changed = sorted(name for name in changes if changes[name] != before.get(name))
        told = {"revision": after["revision"], "status": after["status"], "actor": by, "reason": reason, "at": AT}
        self.revisions.setdefault(id, []).append({"document": snapshot, "told": told | {"changed": changed}})
        self._log("updated" if before else "created", after, by, reason, changed)
        return after

    def _log(self, action: str, after: dict[str, Any], by: str, reason: str, changed: list[str]) -> None:
        document = json.dumps(after)
        entry = audit.canonical(
            {"action": action, "actor": by, "at": AT, "changed": changed, "document": audit.digest(document).hex(),
             "entity": "requirement", "entity_id": after["id"], "reason": reason, "request_id": None,
             "revision": after["revision"], "trace_id": ""}
        )  # fmt: skip
        position, digest = self.chain.position + 1, audit.digest(entry)
        sealed = audit.link(self.chain.hash, position, digest)
        assert self.chain.check(position, entry, digest, sealed) is None
        self.log.append(
            {"position": position, "entry": entry, "digest": digest.hex(), "hash": sealed.hex(), "document": document,
             "document_digest": audit.digest(document).hex()}
        )  # fmt: skip

    def add(self, by: str = "alice", **content: Any) -> dict[str, Any]:
        id, key = str(uuid4()), f"REQ-{len(self.documents) + 1}"
        document = {"id": id, "key": key, "title": "A", **CONTENT, "status": "draft", "in_force": None}
        document |= {"fingerprint": "f", "created_at": AT, "created_by": by, "reviewers": [], "verdict": None}
        return self.write(id, document | content, by)

    # --- HTTP ---

    def app(self) -> Starlette:
        root = "/api/v1/requirements"
        routes = [
            Route(root, self.list), Route(root, self.create, methods=["POST"]),
            Route(root + "/lint", self.lint, methods=["POST"]),
            Route(root + "/{id}/impact", self.impact),
            Route(root + "/{id}", self.read), Route(root + "/{id}", self.change, methods=["PATCH"]),
            Route(root + "/{id}/transitions", self.transition, methods=["POST"]),
            Route(root + "/{id}/reviews", self.review, methods=["POST"]),
            Route(root + "/{id}/revisions", self.history),
            Route(root + "/{id}/revisions/{number:int}", self.snapshot),
            Route(root + "/{id}/diff", self.diff),
            Route("/api/v1/log-templates", self.log_templates),
            Route("/api/v1/audit", self.audits), Route("/api/v1/audit/export", self.export),
        ]  # fmt: skip

        async def refused(request: Request, error: Exception) -> Response:
            assert isinstance(error, Problem)
            return JSONResponse(error.body, error.status, media_type="application/problem+json")

        return Starlette(routes=routes, exception_handlers={Problem: refused})

    def _enter(self, request: Request) -> None:
        self.asked.append((request.method, request.url.path, dict(request.query_params)))
        self.tokens.append(request.headers["authorization"].removeprefix("Bearer "))
        if self.tokens[-1] == "bad":
            raise Problem(401, "unauthenticated", "the token is not valid")

    def _one(self, request: Request) -> dict[str, Any]:
        self._enter(request)
        found = self.documents.get(request.path_params["id"])
        if found is None:
            raise Problem(404, "not-found", "there is no such requirement")
        return found

    async def list(self, request: Request) -> Response:
        self._enter(request)
        query = request.query_params
        items = [each for each in self.documents.values() if query.get("key") in (None, each["key"])]
        if query.get("sort") == "nonsense":
            raise Problem(422, "invalid-request", "malformed", errors=[{"parameter": "sort", "detail": "no such"}])
        start, limit = int(query.get("cursor") or 0), int(query.get("limit", 50))
        body: dict[str, Any] = {"items": items[start : start + limit], "total": len(items)}
        if start + limit < len(items):
            body["next"] = str(start + limit)
        return JSONResponse(body)

    async def read(self, request: Request) -> Response:
        return self._answer(self._one(request))

    async def impact(self, request: Request) -> Response:
        """All other requirements, and one that was deleted; of another type than `derives` nothing."""
        self._enter(request)
        asked = request.path_params["id"]
        wanted = request.query_params.getlist("type")
        items = [
            {name: each.get(name) for name in ("id", "key", "title", "status", "owner_team", "service")}
            for each in self.documents.values()
            if each["id"] != asked
        ]
        gone = dict.fromkeys(("key", "title", "status", "owner_team", "service"))
        items = [*items, {"id": "gone", **gone}] if not wanted or "derives" in wanted else []
        return JSONResponse({"items": items, "total": len(items)})

    async def lint(self, request: Request) -> Response:
        """Every `fast` is vague, every TBD a placeholder; a label silences."""
        self._enter(request)
        body = await request.json()
        statement = body.get("statement", "")
        findings = [
            {
                "rule": rule, "severity": severity, "pointer": "/statement", "start": statement.find(word),
                "end": statement.find(word) + len(word), "excerpt": word, "message": f"told of '{word}'",
                "suggestion": "say what", "source": "a book",
                "silenced": body.get("labels", {}).get(f"lint.{rule}"),
            }
            for rule, severity, word in (("vague", "warning", "fast"), ("placeholder", "error", "TBD"))
            if word in statement
        ]  # fmt: skip
        return JSONResponse({"pattern": None, "findings": findings})

    async def create(self, request: Request) -> Response:
        self._enter(request)
        body = await request.json()

        def work() -> dict[str, Any]:
            if unknown := set(body) - set(CONTENT) - {"title"}:
                raise Problem(
                    422,
                    "invalid-request",
                    "malformed",
                    errors=[{"pointer": f"/{unknown.pop()}", "detail": "not known"}],
                )
            return self.add(**body)

        return await self._once(request, 201, work)

    async def _once(self, request: Request, status: int, work: Callable[[], dict[str, Any]]) -> Response:
        key, body = request.headers["idempotency-key"], await request.body()
        if key in self.answers:
            if self.answers[key][0] != body:
                raise Problem(422, "idempotency-key-reused", "the same key came with another request")
            answer = self.answers[key][1]
        else:
            answer = copy.deepcopy(work())
            self.answers[key] = body, answer
        if self.failures:
            raise Problem(self.failures.pop(0), "unavailable", "the answer is lost")
        return JSONResponse(answer, status)

    async def change(self, request: Request) -> Response:
        if self.beforehand:
            self.beforehand.pop(0)()
        now = self._one(request)
        assert request.headers["content-type"] == "application/merge-patch+json"
        patch = await request.json()
        self._match(request, now)
        if now["status"] == "retired":
            raise Problem(409, "not-editable", "it is retired")
        if patch.get("priority") == "nonsense":
            raise Problem(
                422, "invalid-request", "malformed", errors=[{"pointer": "/priority", "detail": "must or should"}]
            )
        return self._answer(self.write(now["id"], merged(now, patch), "me", request.query_params.get("reason", "")))

    async def transition(self, request: Request) -> Response:
        now, wanted = self._one(request), await request.json()

        def work() -> dict[str, Any]:
            self._match(request, now)
            legal = LEGAL.get(now["status"], [])
            if wanted["to"] not in legal:
                raise Problem(409, "illegal-transition", f"it can go to {' or '.join(legal)}", legal=legal)
            changes = {"status": wanted["to"], "reviewers": wanted["reviewers"]}
            return self.write(now["id"], changes, "me", wanted["reason"])

        return await self._once(request, 200, work)

    async def review(self, request: Request) -> Response:
        now, given = self._one(request), await request.json()

        def work() -> dict[str, Any]:
            if given["revision"] != now["revision"]:
                raise Problem(409, "another-revision", "it has changed")
            if given["decision"] == "approve":
                self.write(now["id"], {"status": "approved"}, "me")
            review = given | {"id": str(uuid4()), "requirement_id": now["id"], "reviewer": "me", "at": AT}
            self.reviews.append(review)
            return review | {"status": self.documents[now["id"]]["status"], "approvals": 1, "required_approvals": 1}

        return await self._once(request, 201, work)

    async def history(self, request: Request) -> Response:
        self._enter(request)
        told = [each["told"] for each in reversed(self.revisions[request.path_params["id"]])]
        skip, limit = int(request.query_params["skip"]), int(request.query_params["limit"])
        return JSONResponse({"items": told[skip : skip + limit], "total": len(told)})

    async def snapshot(self, request: Request) -> Response:
        self._enter(request)
        return JSONResponse(self.revisions[request.path_params["id"]][request.path_params["number"] - 1]["document"])

    async def diff(self, request: Request) -> Response:
        self._enter(request)
        numbers = [int(request.query_params[name]) for name in ("from", "to")]
        before, after = (self.revisions[request.path_params["id"]][number - 1]["document"] for number in numbers)
        names = [name for name in (*CONTENT, "title", "status") if before[name] != after[name]]
        changes = [{"pointer": f"/{name}", "before": before[name], "after": after[name]} for name in sorted(names)]
        return JSONResponse({"from": numbers[0], "to": numbers[1], "changes": changes})

    async def audits(self, request: Request) -> Response:
        self._enter(request)
        items = [{"position": line["position"], "entry": json.loads(line["entry"])} for line in reversed(self.log)]
        wanted = request.query_params.get("entity_id")
        items = [each for each in items if wanted in (None, each["entry"]["entity_id"])]
        limit, skip = int(request.query_params["limit"]), int(request.query_params.get("skip", 0))
        return JSONResponse({"items": items[skip : skip + limit], "total": len(items)})

    async def export(self, request: Request) -> Response:
        self._enter(request)
        after = int(request.query_params.get("after", 0))

        async def lines() -> Any:
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.log[after:]).encode()
            for place in range(0, len(text), 1000):  # chunks do not end where lines end
                yield text[place : place + 1000]
                if self.cut is not None and place >= self.cut:
                    raise OSError("the connection is cut")

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    @staticmethod
    def _match(request: Request, now: dict[str, Any]) -> None:
        if request.headers["if-match"] != f'"{now["revision"]}"':
            raise Problem(412, "stale-version", f"it is at revision {now['revision']} now")

    async def log_templates(self, request: Request) -> Response:
        asked = request.query_params
        self.asked.append(("GET", request.url.path, dict(asked)))
        found = [each for each in self.templates if asked.get("service") in (None, each["service"])]
        start = int(asked["skip"])
        return JSONResponse({"items": found[start : start + int(asked["limit"])], "total": len(found)})

    @staticmethod
    def _answer(document: dict[str, Any]) -> Response:
        return JSONResponse(document, headers={"ETag": f'"{document["revision"]}"'})


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396 as a server does it whose members take their defaults on null."""
    result = {name: target[name] for name in (*CONTENT, "title")}
    for name, value in patch.items():
        if name == "labels" and value is not None:
            labels = result["labels"] | value
            result["labels"] = {key: each for key, each in labels.items() if each is not None}
        else:
            result[name] = copy.deepcopy(CONTENT[name]) if value is None else value
    return result


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def api(service: Service) -> Starlette:
    """What the gateway serves; a module of tests may put another in its place."""
    return service.app()


@pytest.fixture
def url(api: Starlette) -> Iterator[str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(api, log_level="error", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.005)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listener.close()


class Shell:
    """Runs commands against the server. `edits` are what the user does in the editor, one opening each."""

    def __init__(self, url: str, folder: Path) -> None:
        self.env: dict[str, str | None] = {
            "PLUMBLINE_URL": url, "PLUMBLINE_TOKEN": "good", "XDG_STATE_HOME": str(folder / "state"),
            "COLUMNS": "200", "VISUAL": None, "EDITOR": "false",
        }  # fmt: skip
        self.folder = folder
        self.seen = folder / "seen"
        self.seen.mkdir()

    def __call__(self, *arguments: str, input: str | None = None, **env: str | None) -> Result:
        return CliRunner().invoke(app, arguments, input=input, env=self.env | env)

    def edits(self, *edits: str) -> None:
        """Each edit is the body of a function of `text` in Python; after the last one the text is left as it is."""
        steps = self.folder / "steps.json"
        steps.write_text(json.dumps(edits))
        script = self.folder / "editor.py"
        script.write_text(
            "import json, pathlib, sys\n"
            f"seen = pathlib.Path({str(self.seen)!r})\n"
            "path = pathlib.Path(sys.argv[1]); text = path.read_text(); number = len(list(seen.iterdir()))\n"
            "(seen / str(number)).write_text(text)\n"
            f"steps = json.loads(pathlib.Path({str(steps)!r}).read_text())\n"
            "if number < len(steps):\n"
            "    names = {'text': text}; exec(steps[number], names); path.write_text(names['text'])\n"
        )
        self.env["EDITOR"] = f"{sys.executable} {script}"

    def shown(self) -> list[str]:
        """What the editor was opened with, time after time."""
        return [(self.seen / str(number)).read_text() for number in range(len(list(self.seen.iterdir())))]

    def kept(self) -> list[str]:
        """The texts that edits have left behind."""
        return [path.read_text() for path in (self.folder / "state").rglob("*.yaml")]


@pytest.fixture
def shell(url: str, tmp_path: Path) -> Shell:
    return Shell(url, tmp_path)
