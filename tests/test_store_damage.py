import numpy as np
import pytest
import torch

from actpipe.errors import Damaged
from actpipe.store import Store, verify
from tests.small_store import HOOK, data_files, filled_store, slab_of


@pytest.fixture
def store(tmp_path):
    return filled_store(tmp_path / "store.zarr")


def shard(store, slab):
    return store.path / "acts" / HOOK / "c" / str(slab) / "0"


def flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


def repair(store):
    """What the sentence of the error says: delete the commit, harvest again."""
    for slab in {each["slab"] for each in verify(store)["damaged"]}:
        (store.path / "commit" / "c" / str(slab) / "0").unlink(missing_ok=True)
    store = Store.open(store.path)
    for slab in store.recover():
        store.write_slab(slab, slab_of(store, slab))
    return verify(store)


def test_flipped_byte_is_named_by_hook_slab_and_chunk(store):
    before = data_files(store.path)
    chunk_bytes = 16 * 6 * 2 + 4
    flip(shard(store, 2), chunk_bytes + 17)
    found = {"slab": 2, "hook": HOOK, "chunk": 1, "problem": "the checksum does not match the content"}
    assert verify(store) == {"complete": False, "shards": 12, "damaged": [found]}
    with pytest.raises(Damaged, match=rf"Slab 2 of hook '{HOOK}' is damaged: .*chunk 1 .*Run `actpipe verify`"):
        store.read(HOOK, 64, 96)
    assert store.read(HOOK, 64, 80).shape == (16, 6)  # chunk 0 is sound
    assert repair(store)["complete"]
    assert data_files(store.path) == before


def test_flipped_byte_stops_batches(store):
    flip(shard(store, 2), 3)
    with pytest.raises(Damaged, match="chunk 0"):
        list(store.batches(HOOK, batch_size=32, seed=0, epochs=1))


@pytest.mark.parametrize("bytes_left", [0, 100, -1])
def test_truncated_shard_is_named_and_rewritten(store, bytes_left):
    content = shard(store, 1).read_bytes()
    shard(store, 1).write_bytes(content[:bytes_left])
    (found,) = verify(store)["damaged"]
    assert (found["slab"], found["hook"]) == (1, HOOK)
    assert "bytes instead of" in found["problem"]
    if bytes_left >= 0:  # the last byte belongs to the index, which reading does not need
        with pytest.raises(Damaged, match="ends before the end of chunk 1"):
            store.read(HOOK, 32, 64)
    assert Store.open(store.path).recover() == [1]
    assert repair(store)["complete"]


def test_missing_shard_is_named(store):
    shard(store, 4).unlink()
    with pytest.raises(Damaged, match=r"Slab 4 .* its shard file is missing"):
        store.read(HOOK, 128, 130)
    assert [each["problem"] for each in verify(store)["damaged"]] == ["its shard file is missing"]


def test_deleted_commit_record_hides_the_slab_until_it_is_written_again(store):
    (store.path / "commit" / "c" / "3" / "0").unlink()
    store = Store.open(store.path)
    assert store.pending == [3]
    assert not store.is_complete
    rows = torch.cat([batch.rows for batch in store.batches(HOOK, batch_size=10, seed=0, epochs=1)])
    assert not ((rows >= 96) & (rows < 128)).any()
    assert repair(store)["complete"]


@pytest.mark.parametrize("withdrawn", [True, False])
def test_a_slab_without_a_commit_record_is_not_complete_and_not_damaged(store, withdrawn):
    if withdrawn:
        store.withdraw(3)
    else:
        (store.path / "commit" / "c" / "3" / "0").unlink()
    assert verify(store) == {"complete": False, "shards": 10, "damaged": []}


@pytest.mark.parametrize("content", [b"", b"\0" * 36])
def test_damaged_commit_record_counts_as_none_and_is_named(store, content):
    (store.path / "commit" / "c" / "3" / "0").write_bytes(content)
    assert Store.open(store.path).pending == [3]
    assert [each["slab"] for each in verify(store)["damaged"]] == [3]
    assert repair(store)["complete"]


def test_shard_of_another_slab_is_noticed(store):
    shard(store, 0).write_bytes(shard(store, 1).read_bytes())
    assert verify(store)["damaged"] == [
        {"slab": 0, "hook": None, "chunk": None, "problem": "its shards are not those that were committed"}
    ]
    assert repair(store)["complete"]


def test_damaged_index_is_noticed_although_our_reader_does_not_need_it(store):
    flip(shard(store, 0), -10)
    (found,) = verify(store)["damaged"]
    assert "index" in found["problem"]


def test_damaged_statistics_are_named(store):
    flip(store.path / "statistics" / HOOK / "c" / "2" / "0" / "0", 5)
    with pytest.raises(Damaged, match=r"Slab 2 .* its statistics cannot be read"):
        store.statistics(HOOK)
    assert [each["slab"] for each in verify(store)["damaged"]] == [2]
    assert repair(store)["complete"]


def test_damaged_tokens_are_named(store):
    flip(store.path / "tokens" / "c" / "0" / "0", 9)
    with pytest.raises(Damaged, match="'tokens'"):
        _ = Store.open(store.path).tokens
    (found,) = verify(store)["damaged"]
    assert "'tokens'" in found["problem"]
    assert not verify(store)["complete"]


def test_every_single_flipped_bit_of_a_shard_is_found(tmp_path):
    store = filled_store(tmp_path / "store.zarr")
    path = shard(store, 5)
    content = path.read_bytes()
    for offset in np.random.default_rng(0).choice(len(content), 60, replace=False):
        flip(path, int(offset))
        assert verify(store)["damaged"], offset
        path.write_bytes(content)


def test_damaged_health_record_is_named_and_a_missing_one_written_again(store):
    record = store.path / "health" / HOOK / "c" / "2" / "0" / "0"
    flip(record, 5)
    (found,) = verify(store)["damaged"]
    assert (found["slab"], found["hook"]) == (2, HOOK)
    assert "health record cannot be read" in found["problem"]
    record.unlink()
    assert Store.open(store.path).recover() == [2]
    assert repair(store)["complete"]


@pytest.mark.parametrize("array", [f"acts/{HOOK}", f"statistics/{HOOK}", f"health/{HOOK}", "commit"])
def test_metadata_that_other_readers_need_is_missed(store, array):
    (store.path / array / "zarr.json").unlink()
    result = verify(store)
    assert not result["complete"]
    assert [each["problem"].split("/zarr.json")[0] for each in result["damaged"]] == [array]
