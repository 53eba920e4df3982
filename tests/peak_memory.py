"""The peak memory of a process that a test starts.

Not `ru_maxrss`: a process inherits it from the one that started it, through fork and exec, and pytest is large.
"""

from __future__ import annotations

from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc/self/status")

# Begins the text of a program: `peak_bytes()` is the most memory it ever had.
PEAK_BYTES = """
def peak_bytes():
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
"""
