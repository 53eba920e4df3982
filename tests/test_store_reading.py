import numpy as np
import pytest
import torch

from actpipe import open_store
from actpipe.errors import Missing, Misuse
from actpipe.store import Store
from tests.small_store import HOOK, HOOKS, empty_store, filled_store, slab_of, values


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return filled_store(tmp_path_factory.mktemp("reading") / "store.zarr")


@pytest.mark.parametrize("hook", HOOKS)
def test_any_range_of_rows_reads_back(store, hook):
    expected = values(hook).bfloat16()
    for start in range(0, store.rows, 7):
        for stop in (start, start + 1, start + 20, start + 70, store.rows):
            stop = min(stop, store.rows)
            assert torch.equal(store.read(hook, start, stop), expected[start:stop])


def test_rows_can_be_read_into_a_tensor_of_the_caller(store):
    out = torch.zeros(50, 6, dtype=torch.bfloat16)
    assert store.read(HOOK, 10, 60, out=out) is out
    assert torch.equal(out.float(), values(HOOK)[10:60])
    with pytest.raises(Misuse, match="contiguous bfloat16"):
        store.read(HOOK, 10, 60, out=torch.zeros(50, 6))


def test_gathered_rows_come_in_the_order_asked_for(store):
    rows = [167, 3, 3, 100, 4, 0]
    assert torch.equal(store.read_rows(HOOK, rows).float(), values(HOOK)[rows])
    assert torch.equal(store.read_rows(HOOK, torch.tensor(rows)).float(), values(HOOK)[rows])
    assert store.read_rows(HOOK, []).shape == (0, 6)


def test_unknown_hooks_and_rows_are_refused_by_name(store):
    with pytest.raises(Missing, match=r"no hook 'blocks\.7'; it has blocks\.0"):
        store.read("blocks.7", 0, 1)
    with pytest.raises(Misuse, match="Rows 160 to 169 are outside"):
        store.read(HOOK, 160, 169)
    with pytest.raises(Misuse, match="outside"):
        store.read_rows(HOOK, [-1])


def test_a_row_is_traced_to_its_token(store):
    # Row 45 is position 5 of sequence 5; documents have 20 tokens; the tokens count up by 7, modulo 50.
    assert store.trace(45) == {"row": 45, "sequence": 5, "position": 5, "doc": 2, "token": 45 * 7 % 50}
    assert store.trace(store.rows - 1)["sequence"] == store.sequences - 1
    batch = next(store.batches(HOOK, batch_size=8, seed=0))
    for row, x in zip(batch.rows.tolist(), batch.x, strict=True):
        found = store.trace(row)
        assert store.tokens[found["sequence"], found["position"]] == found["token"]
        assert torch.equal(x, values(HOOK)[row])
    with pytest.raises(Misuse, match="no row 168; the store has rows 0 to 167"):
        store.trace(168)


def test_open_store_is_the_public_way_in(store):
    assert open_store(str(store.path)).fingerprint == store.fingerprint


def test_bytes_counts_every_file(store):
    assert store.bytes == sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file())


@pytest.mark.parametrize("hook", HOOKS)
def test_statistics_equal_those_of_all_masked_rows(store, hook):
    rows = values(hook).double().numpy()[store.mask.reshape(-1)]
    statistics = store.statistics(hook)
    assert statistics.count == len(rows)
    np.testing.assert_allclose(statistics.mean, rows.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(statistics.variance, rows.var(axis=0), rtol=1e-6)
    assert statistics.mean_square == pytest.approx((rows**2).sum(axis=1).mean(), rel=1e-6)


def test_statistics_survive_a_mean_far_from_zero(tmp_path):
    store = empty_store(tmp_path / "store.zarr", dtype="float32")
    for slab in store.pending:
        store.write_slab(slab, {hook: rows + 1e4 for hook, rows in slab_of(store, slab).items()})
    rows = values(HOOK).double().numpy()[store.mask.reshape(-1)]
    np.testing.assert_allclose(store.statistics(HOOK).variance, rows.var(axis=0), rtol=1e-4)


def test_statistics_cover_committed_slabs_only(tmp_path):
    store = empty_store(tmp_path / "store.zarr")
    assert store.statistics(HOOK).count == 0
    store.write_slab(1, slab_of(store, 1))
    assert store.statistics(HOOK).count == 28
    expected = values(HOOK)[32:64][store.mask[4:8].reshape(-1)].mean(0)
    np.testing.assert_allclose(store.statistics(HOOK).mean, expected, atol=1e-6)


def test_statistics_do_not_depend_on_threads(tmp_path):
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            filled_store(tmp_path / f"{threads}.zarr")
    finally:
        torch.set_num_threads(before)
    one, two = (Store.open(tmp_path / f"{threads}.zarr").statistics(HOOK) for threads in (1, 2))
    assert np.array_equal(one.variance, two.variance)


def test_held_out_rows_are_whole_documents_and_count(store):
    held = store.held_out(0.3)
    assert held.shape == store.mask.shape
    assert not (held & ~store.mask).any()
    documents = set(store.doc[held].tolist())
    assert 0 < len(documents) < 9
    assert np.array_equal(held, np.isin(store.doc, list(documents)) & store.mask)
