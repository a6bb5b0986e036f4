"""Deliveries to deployment hooks, signed as GitHub and as Standard Webhooks have it."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any


def github(secret: str, content: Any, event: str = "deployment_status", id: str = "72d3162e") -> dict[str, Any]:
    """What a client's `post` takes. `content` is JSON, or bytes as they are."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "content-type": "application/json",
        "x-github-event": event,
        "x-github-delivery": id,
        "x-hub-signature-256": f"sha256={digest}",
    }
    return {"content": body, "headers": headers}


def standard(secret: str, content: Any, id: str = "msg-1", ago: float = 0) -> dict[str, Any]:
    """As `github`; `secret` is the key itself, and the delivery was signed `ago` seconds ago."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    timestamp = str(int(time.time() - ago))
    signature = hmac.digest(secret.encode(), f"{id}.{timestamp}.".encode() + body, "sha256")
    headers = {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }
    return {"content": body, "headers": headers}


def deployment_status(state: str = "success", **members: Any) -> dict[str, Any]:
    """The members of GitHub's payload that matter, among some that do not."""
    deployment = {
        "id": 145988746,
        "node_id": "DE_kwDOA",
        "sha": "f95f852bd8fca8fcc58a9a2d6c842781e32a215e",
        "ref": "main",
        "task": "deploy",
        "environment": "production",
        "description": None,
        "created_at": "2026-11-01T11:50:00Z",
        "payload": {},
    }
    status = {
        "id": 209916254,
        "state": state,
        "environment": "production",
        "description": "A new client",
        "target_url": "",
        "log_url": "https://github.com/octo/checkout/actions/runs/1208",
        "created_at": "2026-11-01T12:00:00Z",
    }
    repository = {"id": 1, "full_name": "octo/checkout"}
    return {
        "action": "created",
        "deployment_status": status,
        "deployment": deployment | members,
        "repository": repository,
    }
