"""What operators keep in YAML files and call by its name: sources and notification targets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from plumbline_cli import files, forms
from plumbline_cli.client import Gateway
from plumbline_cli.shell import Code, Told


@dataclass(frozen=True)
class Collection:
    """Where they are, and what people call one of them. Every method but `read` asks the gateway."""

    path: str
    noun: str

    def read(self, file: Path, needs: str) -> list[dict[str, Any]]:
        """The documents of a file. Raises `Told`."""
        try:
            with files.source(file) as opened:
                documents = forms.load(opened.read().decode())
        except (forms.NotAForm, UnicodeDecodeError) as error:
            raise Told(f"{file}: {error}", Code.USAGE) from None
        if not documents or not all(isinstance(each, dict) for each in documents):
            raise Told(f"{file}: needs {needs} of a {self.noun} in each document", Code.USAGE)
        return documents

    async def address(self, gateway: Gateway, name: str) -> str:
        """The path of the one with this name or id. Raises `Told` where there is none."""
        try:
            return f"{self.path}/{UUID(name)}"
        except ValueError:
            found = (await gateway.get(self.path, name=name))["items"]
        if not found:
            raise Told(f"there is no {self.noun} {name}", Code.NOT_FOUND)
        return f"{self.path}/{found[0]['id']}"

    async def one(self, gateway: Gateway, name: str) -> dict[str, Any]:
        found: dict[str, Any] = await gateway.get(await self.address(gateway, name))
        return found

    async def add(self, gateway: Gateway, contents: list[dict[str, Any]], replace: bool) -> list[dict[str, Any]]:
        """One after the other. `replace` changes the one that has the name of a content, where there is one."""
        return [await self._add(gateway, content, replace) for content in contents]

    async def _add(self, gateway: Gateway, content: dict[str, Any], replace: bool) -> dict[str, Any]:
        name = content.get("name") if replace else None
        there = (await gateway.get(self.path, name=name))["items"] if name else []
        if there:
            path, etag = f"{self.path}/{there[0]['id']}", f'"{there[0]["revision"]}"'
            answer = await gateway.send("PUT", path, json=content, headers={"If-Match": etag})
        else:
            answer = await gateway.post(self.path, content, str(uuid4()))
        added: dict[str, Any] = answer.json()
        return added

    async def remove(self, gateway: Gateway, name: str) -> None:
        path = await self.address(gateway, name)
        etag = (await gateway.send("GET", path)).headers["etag"]
        await gateway.send("DELETE", path, headers={"If-Match": etag})
