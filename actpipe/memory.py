"""Memory that is freed stays with the process, for stages that free and ask for the same large pieces at every step;
and goes back between two stages.

glibc gives pieces of megabytes back to the system as soon as they are freed, and the next step gets new, empty pages:
with 4096 rows of 576 numbers that was a third of a step's time (docs/measurements.md). Only the peak of a process
counts for what fits on a machine, and that stays as it is.
"""

from __future__ import annotations

import ctypes
import sys

# From malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """For this process, from now on; nothing happens where the C library is another than glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)  # no pieces of their own, which go back one by one
        mallopt(M_TRIM_THRESHOLD, LARGEST)  # and no end of the heap below 2 GiB


def give_back() -> None:
    """What is free and was kept goes to the system, in a tenth of a second. After a stage it can be gigabytes."""
    if sys.platform.startswith("linux") and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
