"""Stops one thread of another process until stdin ends, as a debugger does: PTRACE_SEIZE and PTRACE_INTERRUPT."""

from __future__ import annotations

import ctypes
import os
import sys

_SEIZE, _INTERRUPT, _DETACH, _WALL = 0x4206, 0x4207, 17, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request: int, thread: int) -> None:
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


thread = int(sys.argv[1])
ptrace(_SEIZE, thread)
ptrace(_INTERRUPT, thread)
os.waitpid(thread, _WALL)
print("held", flush=True)
sys.stdin.read()
ptrace(_DETACH, thread)
