"""Files and standard streams: opened with a clear reason where they cannot be, and kept only where they are whole."""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from plumbline_cli.shell import Caller, Code, Told, errors


def download(
    caller: Caller,
    path: str,
    query: Mapping[str, Any],
    out: Path | None,
    whole: Callable[[str], bool] = lambda last: True,
) -> None:
    """Write an answer to `out`, or to standard output. `whole` tells by its last line whether it broke off."""

    async def fetch(to: IO[bytes]) -> tuple[int, bytes]:
        size, last = 0, b""
        async with caller.gateway() as gateway:
            with errors.status("begins") as shown:
                async for line in gateway.lines(path, params=dict(query)):
                    to.write(line + b"\n")
                    size, last = size + len(line) + 1, line or last
                    shown.update(f"{size / 1e6:.1f} MB")
        return size, last

    with target(out) as to:
        size, last = asyncio.run(fetch(to))
        if not whole(last.decode(errors="replace")):
            raise Told(f"the answer broke off after {size} bytes; try again")


@contextmanager
def target(out: Path | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that appears under its name only when it is complete."""
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}.", delete=False) as file:
        beside = Path(file.name)
        try:
            yield file.file
            file.close()
            beside.chmod(0o644)
            beside.replace(out)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


@contextmanager
def source(file: Path) -> Iterator[IO[bytes]]:
    """A file to read, or standard input for a hyphen."""
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    try:
        opened = file.open("rb")
    except OSError as error:
        raise Told(f"{file}: {error.strerror}", Code.USAGE) from None
    with opened:
        yield opened


@contextmanager
def sink(out: Path) -> Iterator[IO[bytes]]:
    """Standard output for a hyphen, a pipe or device as it is, or a file that appears when it is complete."""
    try:
        if str(out) != "-" and out.exists() and not out.is_file():
            with out.open("wb") as to:
                yield to
        else:
            with target(None if str(out) == "-" else out) as to:
                yield to
    except OSError as error:
        raise Told(f"{out}: {error.strerror}", Code.USAGE) from None
