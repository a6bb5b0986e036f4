"""A backup on disk: a folder with a dump for each service, and the manifest that says what they hold.

The manifest is written last and the folder gets its name after that, all of it synced: what bears the name is whole.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from plumbline_cli.backups.contents import Contents

FILE = "manifest.json"
FORMAT = 1


class NoBackup(Exception):
    """There is none at the place, or it is not whole."""


@dataclass(frozen=True)
class Dump:
    """`file` is pg_dump's custom format, in the manifest's folder."""

    file: str
    bytes: int
    sha256: str
    contents: Contents


@dataclass(frozen=True)
class Manifest:
    """`taken_at` is the moment that all dumps are of, RFC 3339; `plumbline` and `postgresql` are versions."""

    taken_at: str
    plumbline: str
    postgresql: str
    dumps: Mapping[str, Dump]
    format: int = FORMAT


def write(folder: Path, manifest: Manifest) -> None:
    descriptor = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(manifest), file, indent=2)
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> Manifest:
    """Raises NoBackup."""
    try:
        told = json.loads((folder / FILE).read_text())
    except OSError as error:
        raise NoBackup(f"{folder} is no whole backup: {FILE} cannot be read ({error.strerror})") from None
    except ValueError:
        raise NoBackup(f"{folder / FILE} is no JSON: take another backup") from None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise NoBackup(f"{folder / FILE} is of another format than {FORMAT}: use the release that wrote it")
    try:
        dumps = {
            service: Dump(each["file"], each["bytes"], each["sha256"], Contents.of(each["contents"]))
            for service, each in told["dumps"].items()
        }
        return Manifest(told["taken_at"], told["plumbline"], told["postgresql"], dumps)
    except (TypeError, KeyError, AttributeError) as error:
        raise NoBackup(f"{folder / FILE} lacks what a manifest has: {error!r}") from None


def check(folder: Path, manifest: Manifest) -> None:
    """Every file is there, as long as it was and with the same SHA-256. Raises NoBackup."""
    for dump in manifest.dumps.values():
        file = folder / dump.file
        if Path(dump.file).name != dump.file or not file.is_file():
            raise NoBackup(f"{file} is missing: take another backup")
        if file.stat().st_size != dump.bytes:
            raise NoBackup(f"{file} has {file.stat().st_size} bytes instead of {dump.bytes}: take another backup")
        if sha256(file) != dump.sha256:
            raise NoBackup(f"{file} is not what was written (SHA-256): take another backup")


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def sync(path: Path) -> None:
    """To disk: what was written to a file, or the names that a folder holds."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(unfinished: Path, folder: Path) -> None:
    """Give a backup that is done its name, for good."""
    sync(unfinished)
    unfinished.rename(folder)
    sync(folder.parent)
