import pickle
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from actpipe.store import Store, create_store, verify
from tests.small_store import HOOK, data_files, empty_store, filled_store, slab_of

ROOT = Path(__file__).parents[1]


def start(code, *arguments, **options):
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, env=environment, **options)


def test_importing_actpipe_and_its_store_package_loads_nothing_heavy():
    code = (
        "import sys, actpipe, actpipe.store; heavy = {'torch', 'zarr', 'numpy', 'transformers'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    assert start(code).wait() == 0


def test_a_store_travels_to_other_processes_as_its_path(tmp_path):
    store = filled_store(tmp_path / "store.zarr")
    store.read(HOOK, 0, 10)
    assert torch.equal(pickle.loads(pickle.dumps(store)).read(HOOK, 0, 168), store.read(HOOK, 0, 168))


def test_a_reader_sees_slabs_that_another_commits(tmp_path):
    writer = empty_store(tmp_path / "store.zarr")
    reader = Store.open(writer.path)
    writer.write_slab(0, slab_of(writer, 0))
    assert reader.read(HOOK, 0, 32).shape == (32, 6)
    writer.withdraw(0)
    assert reader.committed == []


WORKER = """
import sys
from actpipe.store import Store
from tests.small_store import slab_of
store, worker = Store.open(sys.argv[1]), int(sys.argv[2])
for slab in store.pending[worker::2]:
    store.write_slab(slab, slab_of(store, slab), worker=worker)
"""


@pytest.mark.slow
def test_two_workers_killed_at_random_moments_end_with_the_same_bytes(tmp_path):
    whole = filled_store(tmp_path / "whole.zarr", max_slab_bytes=1)
    store = empty_store(tmp_path / "killed.zarr", max_slab_bytes=1)
    chance, kills = random.Random(0), 0
    while store.recover():
        workers = [start(WORKER, store.path, worker) for worker in range(2)]
        # From their first commit on, because how long Python takes to start says nothing about where a write is.
        before = len(store.committed)
        while len(store.committed) == before and any(worker.poll() is None for worker in workers):
            time.sleep(0.002)
        time.sleep(chance.random() * 0.02)
        for worker in workers:
            kills += worker.poll() is None
            worker.kill()
            worker.wait()
        assert not verify(store)["damaged"]
    assert kills > 0
    assert data_files(store.path) == data_files(whole.path)


READER = """
import re, sys
from pathlib import Path
from actpipe.store import Store
store, rows = Store.open(Path(sys.argv[1])), 0
for batch in store.batches("a", batch_size=4096, seed=0, epochs=1, pool_rows=2**15):
    rows += len(batch.rows)
assert rows == store.rows, rows
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak of its memory")
def test_memory_of_a_reader_does_not_grow_with_the_store(tmp_path):
    """Beyond what a pool and its blocks take: a byte a row would be 9 MiB more in the last step, a number 69 MiB."""
    used = {}
    for rows in (100_000, 1_000_000, 10_000_000):
        text = np.zeros((rows // 250, 250), np.int32)
        path = tmp_path / f"{rows}.zarr"
        store = create_store(
            path, tokens=text, doc=text, mask=text == 0, hooks={"a": 8}, max_slab_bytes=4 * 2**20, min_chunk_bytes=4000
        )
        for slab in store.pending:
            store.write_slab(slab, {"a": torch.ones(store.layout.rows_of_slab(slab), 8)})
        done = start(READER, path, stdout=subprocess.PIPE)
        used[rows] = int(done.communicate()[0]) / 1024  # KiB → MiB
        assert done.returncode == 0
    assert used[10_000_000] < used[1_000_000] + 8, used
    assert used[10_000_000] < used[100_000] + 24, used
