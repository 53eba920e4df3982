"""One contract over every registered codec, alone and in a store."""

import json

import numpy as np
import pytest
import torch
import zarr

from actpipe.errors import Damaged, Mismatch, Misuse
from actpipe.store import Store, plan_layout, verify
from actpipe.store.codecs import codec_names, get_codec
from tests.small_store import HOOK, HOOKS, data_files, filled_store, slab_of, values

NAMES = list(codec_names())
COMPRESSING = [name for name in NAMES if not get_codec(name).is_identity]


def rows_like_activations(dtype, rows=256, width=576):
    """Channels of unequal spread, as words of the stored type."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(width, generator=generator).exp()
    x = (torch.randn(rows, width, generator=generator) * spread).to(dtype)
    return x.view(torch.uint16 if x.element_size() == 2 else torch.uint8 if x.element_size() == 1 else torch.uint32)


def shard(store, slab):
    return store.path / "acts" / HOOK / "c" / str(slab) / "0"


def test_names_come_with_a_line_each_and_the_default_first():
    assert NAMES[0] == "none"
    assert all(line and "\n" not in line for line in codec_names().values())


def test_unknown_codec_is_refused_with_the_known_ones():
    with pytest.raises(Misuse, match=r"no codec 'zip'; choose one of none, .*zstd"):
        plan_layout(context=8, sequences=1, hooks={"a": 4}, dtype="float32", codec="zip")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.int8])
@pytest.mark.parametrize("name", NAMES)
def test_chunks_come_back_bit_by_bit_and_encode_the_same_each_time(name, dtype):
    codec, chunk = get_codec(name), rows_like_activations(dtype).numpy()
    stored = codec.encode(chunk)
    assert bytes(memoryview(stored).cast("B")) == bytes(memoryview(codec.encode(chunk.copy())).cast("B"))
    out = np.zeros_like(chunk)
    codec.decode(np.frombuffer(stored, np.uint8), out)
    assert np.array_equal(out, chunk)
    noise = np.random.default_rng(0).integers(0, 256, 10_000, np.uint8)
    assert memoryview(codec.encode(noise)).nbytes <= noise.nbytes + codec.growth_bytes


@pytest.mark.parametrize("name", NAMES)
def test_bytes_that_are_no_chunk_are_refused(name):
    codec, chunk = get_codec(name), rows_like_activations(torch.bfloat16).numpy()
    stored = np.frombuffer(codec.encode(chunk), np.uint8)
    for bad in (stored[:-1], stored[:10], np.zeros(40, np.uint8)):
        with pytest.raises(ValueError, match=r"."):
            codec.decode(bad, np.empty_like(chunk))


def test_compressing_codecs_save_what_their_lines_say():
    chunk = rows_like_activations(torch.bfloat16).numpy()
    ratios = {name: chunk.nbytes / len(get_codec(name).encode(chunk)) for name in COMPRESSING}
    assert ratios["zstd"] > 1.35
    assert ratios["lz4"] > 1.1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_store_reads_back_here_and_in_zarr_python(tmp_path, name, dtype):
    store = filled_store(tmp_path / "store.zarr", dtype=dtype, codec=name)
    assert verify(store) == {"complete": True, "shards": 2 * store.n_slabs, "damaged": []}
    group = zarr.open_group(store.path, mode="r")
    for hook in HOOKS:
        assert torch.equal(store.read(hook, 0, store.rows).float(), values(hook))
        assert torch.equal(store.read(hook, 13, 70).float(), values(hook)[13:70])
        assert np.array_equal(group[f"acts/{hook}"][...].astype(np.float32), values(hook).numpy())
    batches = list(store.batches(HOOK, batch_size=16, seed=0, epochs=1))
    rows = torch.cat([batch.rows for batch in batches])
    assert torch.equal(torch.cat([batch.x for batch in batches]), values(HOOK)[rows])


@pytest.mark.parametrize("name", NAMES)
def test_tensorstore_reads_the_same_values(tmp_path, name):
    tensorstore = pytest.importorskip("tensorstore")
    store = filled_store(tmp_path / "store.zarr", codec=name)
    for hook in HOOKS:
        spec = {"driver": "zarr3", "kvstore": f"file://{store.path}/acts/{hook}/"}
        read = tensorstore.open(spec).result().read().result()
        assert np.array_equal(read.astype(np.float32), values(hook).numpy())


@pytest.mark.parametrize("name", NAMES)
def test_shards_have_the_same_bytes_each_time_and_stay_below_the_plan(tmp_path, name):
    one, two = (filled_store(tmp_path / f"{i}.zarr", codec=name) for i in range(2))
    assert data_files(one.path) == data_files(two.path)
    two.write_slab(3, slab_of(two, 3), worker=5)
    assert data_files(one.path) == data_files(two.path)
    assert one.fingerprint == filled_store(tmp_path / "none.zarr").fingerprint
    shards = sum(size for key, size in one.objects.sizes("acts").items() if "/c/" in key)
    assert shards <= one.layout.most_bytes
    if get_codec(name).is_identity:
        assert shards == one.layout.most_bytes


@pytest.mark.parametrize("name", COMPRESSING)
def test_every_single_flipped_bit_is_found(tmp_path, name):
    store = filled_store(tmp_path / "store.zarr", codec=name)
    path = shard(store, 2)
    content = path.read_bytes()
    for offset in np.random.default_rng(0).choice(len(content), 60, replace=False):
        damaged = bytearray(content)
        damaged[offset] ^= 4
        path.write_bytes(damaged)
        assert verify(store)["damaged"], offset
        with pytest.raises(Damaged, match=rf"Slab 2 of hook '{HOOK}' is damaged: .*Run `actpipe verify`"):
            Store.open(store.path).read(HOOK, 64, 96)
    path.write_bytes(content)
    assert verify(store)["complete"]


@pytest.mark.parametrize("left", [0, 20, -1, -40])
@pytest.mark.parametrize("name", COMPRESSING)
def test_truncated_shard_is_rewritten(tmp_path, name, left):
    store = filled_store(tmp_path / "store.zarr", codec=name)
    before = data_files(store.path)
    content = shard(store, 1).read_bytes()
    shard(store, 1).write_bytes(content[:left])
    with pytest.raises(Damaged, match="Slab 1"):
        list(Store.open(store.path).batches(HOOK, batch_size=8, seed=0, epochs=1))
    (found,) = verify(store)["damaged"]
    assert (found["slab"], found["hook"]) == (1, HOOK)
    store = Store.open(store.path)
    assert store.recover() == [1]
    store.write_slab(1, slab_of(store, 1))
    assert data_files(store.path) == before
    assert verify(store)["complete"]


@pytest.mark.parametrize("name", COMPRESSING)
def test_shard_of_another_slab_is_noticed(tmp_path, name):
    store = filled_store(tmp_path / "store.zarr", codec=name)
    shard(store, 0).write_bytes(shard(store, 1).read_bytes())
    problems = [each["problem"] for each in verify(store)["damaged"]]
    assert problems == ["its shards are not those that were committed"]


def test_store_with_a_codec_of_a_later_actpipe_says_so(tmp_path):
    store = filled_store(tmp_path / "store.zarr", codec="zstd")
    root = store.path / "zarr.json"
    node = json.loads(root.read_text())
    node["attributes"]["actpipe"]["hooks"][HOOK]["codec"] = "quantum"
    root.write_text(json.dumps(node))
    with pytest.raises(Mismatch, match=r"codec 'quantum', unknown here; update actpipe"):
        Store.open(store.path)
