"""Secrets that a stack makes for itself at first start: random, one file each, readable by the owner only."""

import os
import secrets
from pathlib import Path


class Credentials:
    """The folder of secrets. A secret is made when it is first asked for, and stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)

    def get(self, name: str) -> str:
        """A secret of 192 random bits in URL-safe letters."""
        path = self.folder / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24).encode())
        return path.read_text()


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner may read; whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    unfinished.replace(path)
