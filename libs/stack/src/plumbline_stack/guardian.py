"""Outlives a supervisor that is killed, and ends what that left. Run as a script.

It reads lines from the supervisor: `+PID SIGNAL` for a child that was started, `-PID` for one that has ended,
`bye` before an orderly end. When the pipe closes without a `bye`, the supervisor is dead: every child gets
its signal, newest first, and after a deadline the rest of each process group is killed. The kernel's
parent-death signal does the first half on Linux; it doesn't reach the children of children. The one argument is
that deadline in seconds.
"""

import contextlib
import os
import signal
import sys
import time


def main() -> None:
    # The terminal's Ctrl-C is the supervisor's to handle.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    children: dict[int, int] = {}
    for line in sys.stdin:
        order, numbers = line[0], line[1:].split()
        if order == "+":
            children[int(numbers[0])] = int(numbers[1])
        elif order == "-":
            children.pop(int(numbers[0]), None)
        else:
            return
    _end(children, float(sys.argv[1]))


def _end(children: dict[int, int], seconds: float) -> None:
    newest_first = list(children.items())[::-1]
    for pid, stop_signal in newest_first:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, stop_signal)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(_group_lives(pid) for pid, _ in newest_first):
        time.sleep(0.05)  # noqa: TID251 - no event loop here
    for pid, _ in newest_first:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _group_lives(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
