import asyncio
import json
from pathlib import Path
from typing import Any

import jwt

import oidc_provider
from plumbline_stack import ports


async def test_a_service_account_calls_by_its_client_credentials(shell: Any, service: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{oidc_provider.SECRET}\n")
    async with oidc_provider.running(tmp_path, ports.choose()) as provider:
        shell.env |= {
            "PLUMBLINE_TOKEN": None,
            "PLUMBLINE_ISSUER": provider.issuer,
            "PLUMBLINE_CLIENT_ID": oidc_provider.CLIENT,
            "PLUMBLINE_CLIENT_SECRET_FILE": str(secret),
        }
        printed = await asyncio.to_thread(shell, "login")
        listed = await asyncio.to_thread(shell, "requirements", "list", "-o", "json")
        assert json.loads(listed.stdout)["total"] == 0
        for token in (printed.stdout.strip(), service.tokens[-1].removeprefix("Bearer ")):
            claims = jwt.decode(token, options={"verify_signature": False})
            assert (claims["iss"], claims["sub"]) == (provider.issuer, oidc_provider.CLIENT)
        secret.write_text("wrong")
        refused = await asyncio.to_thread(shell, "requirements", "list")
        assert (refused.exit_code, "401 invalid_client" in refused.output) == (4, True), refused.output


def test_an_issuer_that_is_not_there_and_what_is_missing_are_told(shell: Any) -> None:
    nowhere = f"http://127.0.0.1:{ports.choose()}"
    missing = shell("login", PLUMBLINE_ISSUER=nowhere)
    assert (missing.exit_code, "PLUMBLINE_CLIENT_ID" in missing.output) == (4, True)
    account = {"PLUMBLINE_CLIENT_ID": "ci", "PLUMBLINE_CLIENT_SECRET": "s"}
    away = shell("login", PLUMBLINE_ISSUER=nowhere, **account)
    assert (away.exit_code, "does not answer" in away.output) == (4, True)
    unset = shell("login", **account)
    assert (unset.exit_code, "PLUMBLINE_ISSUER is not set" in unset.output) == (1, True)
