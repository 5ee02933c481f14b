"""A large buffer is used again, not fetched from the kernel for every request."""

import subprocess
import sys

PROGRAM = """
import resource, sys
from slipway_runtime.allocator import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def used(rounds):
    before = faults()
    for _ in range(rounds):
        several = [bytearray(2**20) for _ in range(4)]
        del several
    return faults() - before

if sys.argv[1] == "kept":
    keep_freed_memory()
used(4)
print(used(50))
"""


def page_faults(setting: str) -> int:
    command = [sys.executable, "-c", PROGRAM, setting]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def test_freed_memory_is_kept_for_the_next_request() -> None:
    assert page_faults("kept") < 1_000
    assert page_faults("as it is") > 10_000
