"""Secrets by their names: a file of the secrets' folder, or an environment variable."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints

from plumbline_common import offload

SecretName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
"""Of a file in the secrets' folder, or of an environment variable: the API takes and shows no secret itself."""
_LARGEST = 256 * 1024


class NoSecret(Exception):
    """None of the name is there, or it can't be used."""


class SecretStore:
    """Only what lies in the folder or bears `prefix` can be named: nothing that people configure can send anything
    else of this machine away. Each is read when it is used, so that it may be rotated."""

    def __init__(self, folder: Path | None, prefix: str, environment: Mapping[str, str] = os.environ) -> None:
        self._folder = folder
        self._prefix = prefix
        self._environment = environment

    async def read(self, name: str) -> str:
        """Raises `NoSecret`."""
        found = None if self._folder is None else await offload.in_thread(_content, self._folder / name)
        variable = self._prefix + re.sub(r"[^A-Z0-9]", "_", name.upper())
        if found is None:
            found = self._environment.get(variable)
        if not (found or "").strip():
            place = f"no file {name} in the secrets' folder and " if self._folder is not None else ""
            raise NoSecret(f"there is no secret {name!r}: {place}no {variable}")
        return str(found).strip()

    async def header(self, name: str) -> str:
        """As `read`, for the value of a header."""
        value = await self.read(name)
        if not (value.isascii() and value.isprintable()):
            raise NoSecret(f"the secret {name!r} holds more than one line of ASCII")
        return value


def _content(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            return opened.read(_LARGEST).decode()
    except (OSError, UnicodeDecodeError):
        return None
