"""Several things at once, each on one core."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def one_thread_each(tasks: int) -> Iterator[ThreadPoolExecutor]:
    """A pool in which every task has one thread of torch: one task a core is faster than all cores at each in turn,
    because most of the work around the products is of one thread."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(max_workers=max(1, min(tasks, threads))) as pool:
        torch.set_num_threads(max(1, threads // max(1, min(tasks, threads))))
        try:
            yield pool
        finally:
            torch.set_num_threads(threads)
