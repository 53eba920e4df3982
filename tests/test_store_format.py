import json
import shutil
import tomllib
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
import zarr

from actpipe import open_store
from actpipe.errors import Misuse
from actpipe.store import plan_layout, verify
from actpipe.store.bfloat16 import BFloat16
from actpipe.store.encoding import channel_scales
from tests.small_store import CONTEXT, HOOK, HOOKS, SEQUENCES, data_files, filled_store, slab_of, texts, values

GOLDEN = Path(__file__).parent / "golden" / "store-v1"
GOLDEN_2 = Path(__file__).parent / "golden" / "store-v2"


def test_golden_store_of_version_1_reads_as_it_was_written():
    store = open_store(GOLDEN)
    assert (store.rows, store.context, store.hooks, store.dtype) == (SEQUENCES * CONTEXT, CONTEXT, HOOKS, "bfloat16")
    assert store.config == {"model": "planted", "seed": 0}
    assert verify(store) == {"complete": True, "shards": 12, "damaged": []}
    for hook in HOOKS:
        assert torch.equal(store.read(hook, 0, store.rows).float(), values(hook))
    for name, expected in texts().items():
        assert np.array_equal(getattr(store, name), expected)


def test_golden_store_of_version_2_reads_as_it_was_written(tmp_path):
    """int8 rows under `zstd`; the frames of another Blosc may differ in their bytes, but not in what they hold."""
    store = open_store(GOLDEN_2)
    assert (store.rows, store.context, store.hooks, store.dtype) == (SEQUENCES * CONTEXT, CONTEXT, HOOKS, "int8")
    assert {each.codec for each in store.layout.hooks.values()} == {"zstd"}
    assert verify(store) == {"complete": True, "shards": 12, "damaged": []}
    scales = {hook: channel_scales(values(hook)) for hook in HOOKS}
    again = filled_store(
        tmp_path / "store.zarr", dtype="int8", codec="zstd", channel_scales=scales, max_slab_bytes=8 * CONTEXT * 24
    )
    assert again.fingerprint == store.fingerprint
    for hook in HOOKS:
        assert torch.equal(store.read(hook, 0, store.rows), again.read(hook, 0, store.rows))
        assert (store.read(hook, 0, store.rows) - values(hook)).abs().max() < 0.05
    written, golden = data_files(again.path), data_files(GOLDEN_2)
    assert written.keys() == golden.keys()
    for name in golden:
        if name.startswith(("scales/", "channels/", "statistics/", "health/")) or name == "zarr.json":
            assert written[name] == golden[name], name


def test_a_store_of_version_1_is_continued_as_it_is(tmp_path):
    path = Path(shutil.copytree(GOLDEN, tmp_path / "store.zarr"))
    store = open_store(path)
    before = data_files(path)
    store.withdraw(2)
    (path / "acts" / HOOK / "c" / "2" / "0").unlink()
    for slab in store.recover():
        store.write_slab(slab, slab_of(store, slab))
    after = data_files(path)
    assert after.keys() == before.keys()
    assert all(after[name] == before[name] for name in before if not name.startswith("statistics/"))
    assert verify(store)["complete"]


def test_writer_makes_the_shards_of_the_golden_store(tmp_path):
    filled_store(tmp_path / "store.zarr")
    written, golden = data_files(tmp_path / "store.zarr"), data_files(GOLDEN)
    shards = [name for name in golden if name.startswith("acts/") and "/c/" in name]
    assert len(shards) == 12
    assert {name: written[name] for name in shards} == {name: golden[name] for name in shards}


def test_golden_fingerprint_is_reproduced(tmp_path):
    assert filled_store(tmp_path / "store.zarr").fingerprint == open_store(GOLDEN).fingerprint


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_zarr_python_reads_the_same_values(tmp_path, dtype):
    store = filled_store(tmp_path / "store.zarr", dtype=dtype)
    group = zarr.open_group(store.path, mode="r")
    for hook in HOOKS:
        assert np.array_equal(group[f"acts/{hook}"][...].astype(np.float32), values(hook).numpy())
    assert np.array_equal(group["tokens"][...], texts()["tokens"])
    assert group["commit"][:, 0].sum() == store.rows
    assert {name for name, _ in group.members()} == {"tokens", "doc", "mask", "acts", "statistics", "health", "commit"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_tensorstore_reads_the_same_values(tmp_path, dtype):
    tensorstore = pytest.importorskip("tensorstore")
    store = filled_store(tmp_path / "store.zarr", dtype=dtype)
    for hook in HOOKS:
        spec = {"driver": "zarr3", "kvstore": f"file://{store.path}/acts/{hook}/"}
        read = tensorstore.open(spec).result().read().result()
        assert str(read.dtype) == dtype
        assert np.array_equal(read.astype(np.float32), values(hook).numpy())


def test_shard_written_by_zarr_python_has_our_bytes(tmp_path):
    store = filled_store(tmp_path / "store.zarr")
    ours = (store.path / "acts" / HOOK / "c" / "0" / "0").read_bytes()
    array = zarr.open_array(store.path / "acts" / HOOK, mode="r+")
    array[: store.layout.slab_rows] = array[: store.layout.slab_rows]
    assert (store.path / "acts" / HOOK / "c" / "0" / "0").read_bytes() == ours


def test_entry_point_names_the_bfloat16_type():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["zarr.data_type"] == {"bfloat16": "actpipe.store.bfloat16:BFloat16"}


def test_bfloat16_scalars_survive_their_json():
    kind = BFloat16()
    for value in (0.0, -1.5, float("inf"), float("-inf")):
        text = json.dumps(kind.to_json_scalar(value, zarr_format=3))
        assert kind.from_json_scalar(json.loads(text), zarr_format=3) == ml_dtypes.bfloat16(value)
    assert np.isnan(float(kind.from_json_scalar(kind.to_json_scalar(float("nan"), zarr_format=3), zarr_format=3)))


def test_slabs_hold_half_a_gibibyte_and_chunks_a_quarter_mebibyte():
    layout = plan_layout(context=256, sequences=10_000, hooks={"a": 576, "b": 1536}, dtype="bfloat16")
    # one sequence of both hooks: 256 · 2112 · 2 bytes = 1,081,344; 256 of them = 264 MiB, 512 would be 528 MiB
    assert layout.slab_sequences == 256
    assert layout.n_slabs == 40
    # one sequence of a: 288 KiB; of b: 768 KiB; both lie between 256 KiB and 1 MiB
    assert [layout.hooks[hook].chunk_rows for hook in "ab"] == [256, 256]
    assert layout.slab_range(39) == (9984, 10_000)


def test_long_sequences_are_cut_and_short_ones_joined():
    long = plan_layout(context=1024, sequences=64, hooks={"a": 4096}, dtype="bfloat16")
    assert long.hooks["a"].chunk_rows == 128  # 1 MiB
    short = plan_layout(context=64, sequences=4096, hooks={"a": 512}, dtype="bfloat16")
    assert short.hooks["a"].chunk_rows == 256  # 256 KiB


@pytest.mark.parametrize("hook", ["", "a/b", "__a", "..", "."])
def test_hook_names_that_are_no_array_names_are_refused(hook):
    with pytest.raises(Misuse, match="cannot name a Zarr array"):
        plan_layout(context=8, sequences=1, hooks={hook: 4}, dtype="bfloat16")


def test_unknown_data_type_is_refused_with_the_known_ones():
    with pytest.raises(Misuse, match="bfloat16, float16, float32, int8"):
        plan_layout(context=8, sequences=1, hooks={"a": 4}, dtype="int3")
