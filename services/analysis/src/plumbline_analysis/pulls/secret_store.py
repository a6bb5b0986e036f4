"""Secrets by their names: a file of the secrets' folder, or an environment variable."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from plumbline_analysis.pulls.failures import PullFailed, Reason
from plumbline_common import offload

PREFIX = "PLUMBLINE_ANALYSIS_SECRET_"
_LARGEST = 256 * 1024


class SecretStore:
    """Only what lies in the folder or bears the prefix can be named: no source can send anything else of this
    machine away. Each is read when it is used, so that it may be rotated."""

    def __init__(self, folder: Path | None, environment: Mapping[str, str] = os.environ) -> None:
        self._folder = folder
        self._environment = environment

    async def read(self, name: str) -> str:
        """Raises `PullFailed`."""
        found = None if self._folder is None else await offload.in_thread(_content, self._folder / name)
        variable = PREFIX + re.sub(r"[^A-Z0-9]", "_", name.upper())
        if found is None:
            found = self._environment.get(variable)
        if not (found or "").strip():
            place = f"no file {name} in the secrets' folder and " if self._folder is not None else ""
            raise PullFailed(Reason.CREDENTIALS, f"there is no secret {name!r}: {place}no {variable}")
        return str(found).strip()

    async def header(self, name: str) -> str:
        """As `read`, for the value of a header."""
        value = await self.read(name)
        if not (value.isascii() and value.isprintable()):
            raise PullFailed(Reason.CREDENTIALS, f"the secret {name!r} holds more than one line of ASCII")
        return value


def _content(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            return opened.read(_LARGEST).decode()
    except (OSError, UnicodeDecodeError):
        return None
