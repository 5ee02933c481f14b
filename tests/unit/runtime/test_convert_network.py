"""The converting process and what it starts open no socket that leads anywhere."""

import socket
import subprocess
import sys

from slipway_runtime.convert.network import cut_off

_PROGRAM = """
import socket, subprocess, sys, threading
import numpy  # starts threads of its own
ready, go = threading.Event(), threading.Event()
def late():
    ready.set(); go.wait(); attempt("a thread of before")
def attempt(who):
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2).close()
        print(who, "connected")
    except PermissionError:
        print(who, "refused")
thread = threading.Thread(target=late); thread.start(); ready.wait()
attempt("before")
from slipway_runtime.convert.network import cut_off
print("cut off:", cut_off() or "done")
attempt("after")
go.set(); thread.join()
new = threading.Thread(target=attempt, args=("a new thread",)); new.start(); new.join()
code = f"import socket; socket.create_connection(('127.0.0.1', {sys.argv[1]}), 2)"
child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
print("a child", "refused" if "PermissionError" in child.stderr else "connected")
one, other = socket.socketpair()
one.send(b"x"); print("local", other.recv(1).decode())
for family in (socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET):
    try:
        socket.socket(family, socket.SOCK_RAW); print("opened", family)
    except PermissionError:
        pass
"""


def test_a_process_that_is_cut_off_reaches_nobody() -> None:
    """C18."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(server.getsockname()[1])],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "before connected",
        "cut off: done",
        "after refused",
        "a thread of before refused",
        "a new thread refused",
        "a child refused",
        "local x",
    ]


def test_a_processor_without_a_known_filter_is_told() -> None:
    assert cut_off("riscv64") == "no filter is known for riscv64"
