"""Becomes another program, tied to its parent's life. Run as a script, before anything of the stack is imported.

`launch.py PARENT_PID SIGNAL UID GID NICENESS PROGRAM ARGUMENT...`: where UID is not -1 the account is left first
(PostgreSQL refuses to run as root). On Linux the kernel then sends SIGNAL to the program when the parent
dies, even by SIGKILL. A script of its own because code between fork and exec of a threaded process may
deadlock, and because a change of account clears the parent-death signal, so that the order matters.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, signal, uid, gid, niceness = (int(argument) for argument in sys.argv[1:6])
    program = sys.argv[6:]
    os.nice(niceness)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)  # loaded while this account can still read the library
    if uid != -1:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel was told
            sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
