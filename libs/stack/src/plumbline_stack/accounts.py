"""Which OS account runs PostgreSQL. It refuses root, so root hands it to an unprivileged account."""

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "plumbline"


class AccountError(Exception):
    """Root has no unprivileged account to hand PostgreSQL to, and none could be made."""


@dataclass(frozen=True)
class Account:
    """An unprivileged OS account."""

    name: str
    uid: int
    gid: int

    def own(self, path: Path) -> None:
        os.chown(path, self.uid, self.gid)

    def can_reach(self, path: Path) -> bool:
        """Whether this account may walk from the root to `path`, judged by the mode bits alone."""
        return all(self._may(parent, stat.S_IXUSR) for parent in path.resolve().parents)

    def can_run(self, program: Path) -> bool:
        """Whether this account reaches `program` and may execute it."""
        return self.can_reach(program) and self._may(program, stat.S_IXUSR)

    def _may(self, path: Path, owner_bit: int) -> bool:
        facts = path.stat()
        shift = 0 if facts.st_uid == self.uid else 3 if facts.st_gid == self.gid else 6
        return bool(facts.st_mode & (owner_bit >> shift))


def unprivileged(*, make: bool = True) -> Account | None:
    """The account that PostgreSQL runs under, or None where we aren't root and it runs as ourselves.

    Root gets the system account `plumbline`, made at first need unless `make` is false; else `nobody`.
    Raises AccountError where there is neither.
    """
    if os.geteuid() != 0:
        return None
    for name in (ACCOUNT, "nobody"):
        found = _look_up(name) or (_make(name) if make and name == ACCOUNT else None)
        if found is not None:
            return found
    raise AccountError(
        f"PostgreSQL refuses to run as root: run `useradd --system {ACCOUNT}`, or start as an ordinary user"
    )


def _look_up(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid)


def _make(name: str) -> Account | None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is None:
        return None
    subprocess.run(
        [useradd, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
        check=False,  # a second stack may have made it a moment ago
        capture_output=True,
    )
    return _look_up(name)
