from itertools import islice

import numpy as np
import pytest
import torch

from actpipe.errors import Misuse
from actpipe.store.hashing import splitmix64
from actpipe.store.lending import Lender
from actpipe.store.order import Order, Selection, Sorter
from tests.small_store import HOOK, empty_store, filled_store, slab_of, values


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return filled_store(tmp_path_factory.mktemp("batches") / "store.zarr")


def delivered(batches):
    return torch.cat([batch.rows for batch in batches]).tolist()


def order_of(n_rows=5000, *, share=0.9, run_rows=16, pool_rows=400, seed=0):
    wanted = np.random.default_rng(seed).random(n_rows) < share
    return Order(selected=Selection.of([wanted], run_rows), pool_rows=pool_rows, seed=seed)


def by_definition(order, epoch):
    """The order as the page says it: permuted runs, keys, one stable sort of everything."""
    runs, positions = order.runs_of(epoch)
    (whole,) = order.blocks(epoch, block_rows=10**9)
    assert whole.runs.tolist() == runs.tolist()
    assert positions[0] == 0
    return whole.rows[np.argsort(whole.keys, kind="stable")]


def through_sorter(order, epoch, block_rows, start=0):
    sorter, found = Sorter(order), []
    for block in order.blocks(epoch, block_rows=block_rows, start=start):
        sorter.push(block.keys, block.rows, block.rows)
        found.append(sorter.pop(block.safe)[1])
    return np.concatenate(found)


@pytest.mark.parametrize("pool_rows", [None, 1, 30, 100])
@pytest.mark.parametrize("batch_size", [1, 16, 50, 1000])
def test_every_selected_row_comes_once_an_epoch(store, pool_rows, batch_size):
    rows = delivered(store.batches(HOOK, batch_size=batch_size, seed=3, pool_rows=pool_rows, epochs=3))
    expected = np.flatnonzero(store.mask).tolist()
    n = len(expected)
    assert len(rows) == 3 * n
    for epoch in range(3):
        assert sorted(rows[epoch * n : (epoch + 1) * n]) == expected


def test_values_belong_to_their_rows(store):
    for batch in store.batches(HOOK, batch_size=40, seed=0, epochs=2, pool_rows=30):
        assert batch.x.dtype == torch.float32
        assert torch.equal(batch.x, values(HOOK)[batch.rows])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_batches_come_in_the_data_type_that_is_asked_for(store, dtype):
    for batch in store.batches(HOOK, batch_size=40, seed=0, epochs=2, pool_rows=30, dtype=dtype):
        assert batch.x.dtype == dtype
        assert torch.equal(batch.x.float(), values(HOOK)[batch.rows])
    with pytest.raises(Misuse, match="int32"):
        store.batches(HOOK, batch_size=40, seed=0, dtype=torch.int32)


def test_batches_that_the_caller_keeps_are_not_written_again(store):
    kept = [
        (batch.x[3:5], batch.rows) for batch in islice(store.batches(HOOK, batch_size=7, seed=0, pool_rows=30), 100)
    ]
    for x, rows in kept:
        assert torch.equal(x, values(HOOK)[rows[3:5]])


def test_memory_of_batches_comes_back_when_the_last_view_of_them_is_gone():
    lender = Lender((4, 3), torch.bfloat16)
    first = lender.lend()
    assert first.shape == (4, 3)
    assert first.dtype == torch.bfloat16
    address, view = first.data_ptr(), first[2:]
    del first
    assert lender.lend().data_ptr() != address  # the view still looks at it
    del view
    assert address in {lender.lend().data_ptr() for _ in range(3)}


def test_selection_is_respected(store):
    select = np.zeros_like(store.mask)
    select[5, 3:6] = select[20] = True
    rows = delivered(store.batches(HOOK, batch_size=4, seed=0, epochs=1, select=select))
    assert sorted(rows) == [43, 44, 45, *range(160, 168)]
    with pytest.raises(Misuse, match="shape"):
        store.batches(HOOK, batch_size=4, seed=0, select=select[:3])
    with pytest.raises(Misuse, match="selected and committed"):
        store.batches(HOOK, batch_size=4, seed=0, select=select & False)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_senseless_sizes_are_refused(store, batch_size):
    with pytest.raises(Misuse, match="batch_size"):
        store.batches(HOOK, batch_size=batch_size, seed=0)
    with pytest.raises(Misuse, match="pool_rows"):
        store.batches(HOOK, batch_size=4, seed=0, pool_rows=0)


@pytest.mark.parametrize("pool_rows", [None, 30])
def test_starting_at_batch_k_gives_the_same_batches(store, pool_rows):
    options = {"batch_size": 20, "seed": 5, "pool_rows": pool_rows}
    whole = list(islice(store.batches(HOOK, **options), 25))  # a bit more than 3 epochs
    for k in range(25):
        for expected, batch in zip(whole[k : k + 3], store.batches(HOOK, **options, start=k), strict=False):
            assert torch.equal(batch.rows, expected.rows)
            assert torch.equal(batch.x, expected.x)


def test_stream_without_epochs_goes_on_and_last_batch_is_filled_from_the_next_epoch(store):
    sizes = {len(batch.rows) for batch in islice(store.batches(HOOK, batch_size=100, seed=0), 20)}
    assert sizes == {100}
    sizes = [len(batch.rows) for batch in store.batches(HOOK, batch_size=100, seed=0, epochs=2)]
    assert sizes == [100, 100, 94]  # 2 · 147 rows


def test_seeds_and_epochs_differ(store):
    n = int(store.mask.sum())
    one = delivered(store.batches(HOOK, batch_size=n, seed=0, epochs=2))
    other = delivered(store.batches(HOOK, batch_size=n, seed=1, epochs=1))
    assert one[:n] != one[n:]
    assert one[:n] != other
    assert one == delivered(store.batches(HOOK, batch_size=17, seed=0, epochs=2))


def test_two_streams_at_once_do_not_disturb_each_other(store):
    pair = zip(*(store.batches(HOOK, batch_size=10, seed=0, epochs=2, pool_rows=30) for _ in range(2)), strict=True)
    for one, other in pair:
        assert torch.equal(one.x, other.x)


def test_batches_come_from_committed_slabs_while_others_are_missing(tmp_path):
    store = empty_store(tmp_path / "store.zarr")
    store.write_slab(2, slab_of(store, 2))
    rows = delivered(store.batches(HOOK, batch_size=5, seed=0, epochs=1))
    assert sorted(rows) == [row for row in range(64, 96) if row % 8]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pool_rows", [1, 7, 400, 3000, 100_000])
def test_delivery_is_the_defined_order_whatever_the_blocks(seed, pool_rows):
    order = order_of(pool_rows=pool_rows, seed=seed, share=[1.0, 0.9, 0.05][seed % 3])
    expected = by_definition(order, seed)
    for block_rows in (1, 64, 1000):
        assert np.array_equal(through_sorter(order, seed, block_rows), expected)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pool_rows", [1, 7, 400, 100_000])
def test_resuming_inside_an_epoch_gives_the_rest_and_reads_nothing_else(seed, pool_rows):
    order = order_of(pool_rows=pool_rows, seed=seed)
    expected = by_definition(order, 2)
    for start in np.random.default_rng(seed).integers(1, len(expected), 20):
        assert np.array_equal(through_sorter(order, 2, 100, int(start)), expected[start:])
        read = np.concatenate([block.rows for block in order.blocks(2, block_rows=100, start=int(start))])
        assert sorted(read) == sorted(expected[start:])


def test_ties_between_keys_are_broken_by_position():
    """A pool whose delays have no binary digit to spare: many rows share a key."""

    class Coarse(Order):
        fraction = 0

    order = Coarse(selected=Selection.of([np.ones(3000, bool)], 16), pool_rows=40, seed=0)
    expected = by_definition(order, 0)
    (whole,) = order.blocks(0, block_rows=10**9)
    assert len(np.unique(whole.keys)) < 2900
    for start in range(1, 3000, 37):
        assert np.array_equal(through_sorter(order, 0, 100, start), expected[start:])


def test_rows_on_their_way_stay_within_the_pool():
    order = order_of(60_000, pool_rows=2000)
    waiting = most = 0
    sorter = Sorter(order)
    for block in order.blocks(0, block_rows=100):
        sorter.push(block.keys, block.rows, block.rows)
        waiting += len(block.rows)
        most = max(most, waiting)
        waiting -= len(sorter.pop(block.safe)[0])
    assert 1900 < most < 2000 + 4 * 45 + Sorter.slack(order) + 3 * 116
    assert waiting == 0


def test_small_selections_are_shuffled_exactly():
    """Where the pool holds every row, each of the 3! orders of 3 rows comes equally often (6000 seeds, 5 sigma)."""
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(6000):
        order = Order(selected=Selection.of([np.ones(3, bool)], 2), pool_rows=10, seed=seed)
        key = tuple(by_definition(order, 0).tolist())
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 6
    assert all(abs(count - 1000) < 5 * 29 for count in counts.values())


def test_neighbours_in_the_text_are_far_apart_in_delivery():
    """Rows of one run per row and batch: near (run − 1) · B / 2m with m = 4/5 pool_rows, the mean delay."""
    order = Order(selected=Selection.of([np.ones(200_000, bool)], 64), pool_rows=20_000, seed=0)
    batch = 500
    runs = by_definition(order, 0)[: 200_000 // batch * batch].reshape(-1, batch) // 64
    mates = np.mean([(np.bincount(each)[each] - 1).mean() for each in runs])
    assert mates == pytest.approx(63 * batch / (2 * 16_000), rel=0.1)


def test_the_order_is_that_of_plain_integer_arithmetic():
    """The same formulas in Python integers, row by row; no machine or numpy version can change the order."""
    order = Order(selected=Selection.of([np.ones(50, bool)], 4), pool_rows=20, seed=11)
    assert by_definition(order, 3).tolist() == plain_order(n=50, run_rows=4, pool_rows=20, seed=11, epoch=3)
    # SplitMix64 from state 0 begins with 0xE220A8397B1DCDAF (reference implementation).
    assert mix(0) == int(splitmix64(np.zeros(1, np.uint64))[0]) == 0xE220A8397B1DCDAF


def plain_order(*, n, run_rows, pool_rows, seed, epoch):
    def salted(value, family):
        return mix(mix(value) ^ mix(mix(mix(seed) ^ epoch) ^ family))

    lead, longest = 4 * pool_rows // 5, 8 * pool_rows // 5
    digits = 32 - longest.bit_length()
    runs = sorted(range(-(-n // run_rows)), key=lambda run: salted(run, 1))
    rows = [row for run in runs for row in range(run * run_rows, min((run + 1) * run_rows, n))]
    keys = [
        (max(0, p - lead) << digits) + ((salted(row, 2) >> 32) * (longest << digits) >> 32)
        for p, row in enumerate(rows)
    ]
    return [rows[p] for p in sorted(range(n), key=lambda p: keys[p])]


def mix(value):
    word = 2**64 - 1
    z = (value + 0x9E3779B97F4A7C15) & word
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & word
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
    return z ^ (z >> 31)
