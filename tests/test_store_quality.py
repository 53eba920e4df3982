import numpy as np
import pytest
import torch

from actpipe.errors import Misuse
from actpipe.store.quality import shuffle_quality
from tests.small_store import HOOK, filled_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return filled_store(tmp_path_factory.mktemp("quality") / "store.zarr")


@pytest.mark.parametrize("pool_rows", [None, 20])
def test_quality_is_that_of_the_batches_that_are_delivered(store, pool_rows):
    options = {"batch_size": 20, "seed": 4, "pool_rows": pool_rows}
    batches = [batch.rows.tolist() for batch in store.batches(HOOK, **options, epochs=1)]
    doc, mates, distinct = store.doc.reshape(-1), [], []
    for batch in batches[:-1]:  # the last has 7 rows
        mates += [sum(doc[other] == doc[row] for other in batch) - 1 for row in batch]
        distinct.append(len({doc[row] for row in batch}))
    quality = store.shuffle_quality(HOOK, **options)
    assert quality.batch_size == 20
    assert quality.mates == pytest.approx(np.mean(mates))
    assert quality.documents == pytest.approx(np.mean(distinct))
    assert quality.effective_batch(0.05) == pytest.approx(20 / (1 + 0.05 * np.mean(mates)))


def test_a_pool_that_holds_everything_shuffles_as_well_as_an_exact_shuffle_and_a_small_one_does_not(store):
    doc, rows = store.doc.reshape(-1), np.flatnonzero(store.mask)
    seeds = range(150)
    exact = np.mean([shuffle_quality([np.random.default_rng(seed).permutation(rows)], doc, 21).mates for seed in seeds])
    pools = [store.shuffle_quality(HOOK, batch_size=21, seed=seed) for seed in seeds]
    assert np.mean([each.mates for each in pools]) == pytest.approx(exact, rel=0.02)
    assert pools[0].exact_mates == pytest.approx(exact, rel=0.02)
    assert pools[0].exact_effective_batch(0.1) == pytest.approx(21 / (1 + 0.1 * exact), rel=0.01)
    assert store.shuffle_quality(HOOK, batch_size=21, pool_rows=1).mates > 2 * exact


def test_quality_respects_the_selection_and_refuses_batches_that_do_not_exist(store):
    select = torch.zeros(store.mask.shape, dtype=torch.bool).numpy()
    select[:2] = True  # 16 rows of one document
    quality = store.shuffle_quality(HOOK, batch_size=8, select=select)
    assert (quality.mates, quality.exact_mates, quality.documents) == (7, 7, 1)
    with pytest.raises(Misuse, match="2 to 16"):
        store.shuffle_quality(HOOK, batch_size=17, select=select)
