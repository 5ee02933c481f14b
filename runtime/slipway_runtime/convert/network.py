"""Cut a process and all that it starts off the network, without any right to do so.

Lives here: a filter of system calls (seccomp) that opens no socket but local ones. Containers of a
pod share its network, and only this divides it. The filter stays for the life of the process, and
of every process that it starts.

Source: Linux, Documentation/userspace-api/seccomp_filter.rst, and linux/filter.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
from typing import ClassVar, Final, NamedTuple

_NO_NEW_PRIVS: Final = 38
_DUMPABLE: Final = 4
_SET_FILTER: Final = 1
_ALL_THREADS: Final = 1
_LOAD: Final = 0x20
_EQUAL: Final = 0x15
_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EACCES
_NUMBER, _ARCHITECTURE, _ARGUMENT = 0, 4, 16
"""Where the filter finds what is called, for which machine, and its first argument."""
_X32: Final = 0x40000000
"""From here on x86-64 has the same calls under other numbers."""


class _Machine(NamedTuple):
    """Numbers of one processor's kernel."""

    audit: int
    seccomp: int
    socket: int
    others: tuple[int, ...]
    """Calls that would go around the filter: io_uring opens sockets, the others use a neighbour:
    ptrace, process_vm_writev, pidfd_getfd."""


_MACHINES: Final = {
    "x86_64": _Machine(0xC000003E, 317, 41, (425, 101, 311, 438)),
    "aarch64": _Machine(0xC00000B7, 277, 198, (425, 117, 271, 438)),
}


class _Instruction(ctypes.Structure):
    _fields_: ClassVar = [
        ("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    ]  # fmt: skip


class _Program(ctypes.Structure):
    _fields_: ClassVar = [("length", ctypes.c_ushort), ("first", ctypes.POINTER(_Instruction))]


def cut_off(processor: str = platform.machine()) -> str:
    """Let this process open no socket but local ones, for good.

    Returns:
        Why that is not possible here; empty where it is done.
    """
    machine = _MACHINES.get(processor)
    if machine is None:
        return f"no filter is known for {processor}"
    steps = _steps(machine)
    program = _Program(len(steps), (_Instruction * len(steps))(*steps))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    # All threads: libraries have started some when they were imported.
    done = libc.syscall(machine.seccomp, _SET_FILTER, _ALL_THREADS, ctypes.byref(program))
    return "" if done == 0 else f"seccomp: {os.strerror(ctypes.get_errno())}"


def shut_off() -> None:
    """Let no process of the same user look into this one, or make it act: it has the network."""
    ctypes.CDLL(None).prctl(_DUMPABLE, 0, 0, 0, 0)


def _steps(machine: _Machine) -> list[_Instruction]:
    """Load and compare; a jump counts the steps that it leaves out."""
    last = len(machine.others) + 6
    allow, refuse = last + 1, last + 2
    steps = [
        _Instruction(_LOAD, 0, 0, _ARCHITECTURE),
        _Instruction(_EQUAL, 0, refuse - 2, machine.audit),
        _Instruction(_LOAD, 0, 0, _NUMBER),
        _Instruction(_AT_LEAST, refuse - 4, 0, _X32),
    ]
    for number in machine.others:
        steps.append(_Instruction(_EQUAL, refuse - len(steps) - 1, 0, number))
    steps += [
        _Instruction(_EQUAL, 0, allow - len(steps) - 1, machine.socket),
        _Instruction(_LOAD, 0, 0, _ARGUMENT),
        _Instruction(_EQUAL, 0, refuse - last - 1, socket.AF_UNIX),
        _Instruction(_RETURN, 0, 0, _ALLOW),
        _Instruction(_RETURN, 0, 0, _REFUSE),
    ]
    return steps
