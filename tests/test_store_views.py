import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from actpipe.errors import Missing, Misuse
from tests.small_store import HOOK, HOOKS, empty_store, filled_store, slab_of, values

EXPECTED = [row for row in range(168) if row % 8]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return filled_store(tmp_path_factory.mktemp("views") / "store.zarr")


@pytest.mark.parametrize("hook", HOOKS)
def test_dask_computes_what_the_store_reads(store, hook):
    array = store.dask_array(hook)
    assert array.shape == (168, HOOKS[hook])
    assert array.chunks == ((32, 32, 32, 32, 32, 8), (HOOKS[hook],))
    assert array.dtype == np.float32
    assert np.array_equal(array.compute(), values(hook).numpy())
    assert np.array_equal(array[30:40, 1].compute(), values(hook)[30:40, 1].numpy())
    assert np.allclose(array[store.mask.reshape(-1)].mean(axis=0).compute(), store.statistics(hook).mean)


def test_dask_reads_nothing_before_it_computes_and_checks_what_it_reads(tmp_path):
    store = filled_store(tmp_path / "store.zarr")
    array = store.dask_array(HOOK)
    shard = next(store.path.glob(f"acts/{HOOK}/c/3/0"))
    content = bytearray(shard.read_bytes())
    content[5] ^= 1
    shard.write_bytes(content)
    assert array[:96].compute().shape == (96, 6)
    with pytest.raises(RuntimeError, match="Slab 3"):
        array.compute()


def test_dask_refuses_a_store_with_slabs_missing(tmp_path):
    store = empty_store(tmp_path / "store.zarr")
    store.write_slab(0, slab_of(store, 0))
    with pytest.raises(Missing, match="run the same harvest"):
        store.dask_array(HOOK)


@pytest.mark.parametrize("pool_rows", [None, 20])
@pytest.mark.parametrize(("workers", "context"), [(0, None), (1, "fork"), (2, "fork"), (2, "spawn")])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # a machine with one core
def test_the_workers_of_a_data_loader_deliver_each_row_once(store, workers, context, pool_rows):
    dataset = store.torch_dataset(HOOK, batch_size=10, seed=1, pool_rows=pool_rows)
    loader = DataLoader(dataset, batch_size=None, num_workers=workers, multiprocessing_context=context)
    for _ in range(2 if workers < 2 else 1):
        batches = list(loader)
        assert sorted(torch.cat([batch.rows for batch in batches]).tolist()) == EXPECTED
        for batch in batches:
            assert torch.equal(batch.x, values(HOOK)[batch.rows])


def test_without_workers_a_data_loader_delivers_the_batches_of_the_store(store):
    loader = DataLoader(store.torch_dataset(HOOK, batch_size=10, seed=1, epochs=2), batch_size=None)
    batches = list(store.batches(HOOK, batch_size=10, seed=1, epochs=2))
    for one, other in zip(loader, batches, strict=True):
        assert torch.equal(one.rows, other.rows)
        assert torch.equal(one.x, other.x)


@pytest.mark.parametrize("of", [1, 2, 3, 7, 100])
def test_the_parts_of_several_readers_are_the_epoch(store, of):
    rows = []
    for index in range(of):  # a hundred readers have less than a run each: some deliver nothing
        for batch in store.batches(HOOK, batch_size=4, seed=2, epochs=1, part=(index, of)):
            rows += batch.rows.tolist()
    assert sorted(rows) == EXPECTED


def test_parts_that_do_not_exist_are_refused(store):
    with pytest.raises(Misuse, match="Part 2 of 2"):
        store.batches(HOOK, batch_size=4, seed=0, part=(2, 2))
