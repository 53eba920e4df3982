"""int8 rows: q · row scale · channel scale, with an error that is known."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from actpipe.errors import Damaged, Misuse
from actpipe.store import Store, create_store, verify
from actpipe.store.encoding import channel_scales, decode_rows, empty_rows, encode_rows, error_of, sound_scales
from actpipe.store.layout import HookLayout, plan_layout
from tests.small_store import CONTEXT, HOOK, HOOKS, SEQUENCES, data_files, empty_store, slab_of, texts, values

SCALES = {hook: channel_scales(values(hook)) for hook in HOOKS}
WIDTH = HOOKS[HOOK]


def filled_int8(path, **options):
    store = empty_store(path, dtype="int8", channel_scales=SCALES, **options)
    for slab in store.pending:
        store.write_slab(slab, slab_of(store, slab))
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return filled_int8(tmp_path_factory.mktemp("int8") / "store.zarr")


def rounded(rows, scales):
    """The formula of the format page, a row at a time, in double precision."""
    result = np.zeros(rows.shape)
    for i, row in enumerate(rows.double().numpy()):
        quotients = row / scales.astype(np.float64)
        scale = np.abs(quotients).max() / 127
        if scale > 0:
            result[i] = np.rint(quotients / scale) * scale * scales
    return torch.from_numpy(result)


def like_a_residual_stream(rows=2000, width=96, seed=0):
    """Channels of unequal spread; two of them reach thousands in a few rows (massive activations)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator) * torch.randn(width, generator=generator).exp()
    massive = torch.arange(0, rows, 400)
    x[massive, 3], x[massive, 40] = 9000.0, -2500.0
    return x, massive


def round_trip(rows, scales):
    each = HookLayout(width=rows.shape[1], dtype="int8", chunk_rows=1, channel_scales=scales)
    return decode_rows(encode_rows(rows, each), each, torch.empty(rows.shape))


# The numbers


def test_rows_are_what_the_formula_says(store):
    for hook in HOOKS:
        read = store.read(hook, 0, store.rows)
        assert read.dtype == torch.float32
        torch.testing.assert_close(read.double(), rounded(values(hook), SCALES[hook]), rtol=1e-6, atol=1e-7)
        assert 1e-6 < ((read - values(hook)) ** 2).sum() / values(hook).var(0).sum() / store.rows < 1e-4


def test_error_is_at_most_half_a_step():
    x, _ = like_a_residual_stream()
    scales = channel_scales(x)
    step = (x.abs() / torch.from_numpy(scales)).amax(1, keepdim=True) / 127 * torch.from_numpy(scales)
    assert ((round_trip(x, scales) - x).abs() <= step * 0.50001).all()


def test_massive_activations_in_the_sample_do_not_spoil_ordinary_rows():
    x, massive = like_a_residual_stream()
    ordinary = np.setdiff1d(np.arange(len(x)), massive)
    scales = channel_scales(x)
    assert error_of(x[ordinary], "int8", scales) < 5e-4
    deviation = sound_scales(x.std(0).numpy())
    assert error_of(x[ordinary], "int8", deviation) > 4 * error_of(x[ordinary], "int8", scales)


def test_stated_errors_are_those_of_the_data_types():
    x, massive = like_a_residual_stream()
    x[massive] = 0.5
    # A mantissa of m bits loses a relative 2^-m / √12 or less: bfloat16 7, float16 10.
    assert 1e-6 < error_of(x, "bfloat16") < 2**-14 / 12
    assert 2e-8 < error_of(x, "float16") < 2**-20 / 12
    assert error_of(x, "float32") == 0
    assert 1e-5 < error_of(x, "int8") < 5e-4
    by_hand = float(((x - round_trip(x, channel_scales(x))) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())
    assert error_of(x, "int8") == pytest.approx(by_hand, rel=1e-3)
    assert error_of(torch.full((4, 3), 70000.0), "float16") == float("inf")


def test_zero_rows_zero_channels_and_constant_rows_come_back():
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    x[:, 2], x[7], x[9] = 0, 0, 3.0
    scales = channel_scales(x)
    assert scales.min() == 1
    back = round_trip(x, scales)
    assert (back[7] == 0).all()
    assert (back[:9, 2] == 0).all()
    torch.testing.assert_close(back[9], x[9], atol=0.3, rtol=0)
    torch.testing.assert_close(round_trip(torch.full((2, 8), -5.0), np.ones(8, np.float32)), torch.full((2, 8), -5.0))
    assert (sound_scales(np.zeros(4)) == 1).all()


@pytest.mark.parametrize("size", [1e-45, 1e-38, 1e-20, 1.0, 1e20, 1.6e38])
def test_no_size_of_value_overflows(size):
    x = torch.tensor([[1.0, -0.5, 0.25], [0.0, 1.0, 1e-3]]) * size
    back = round_trip(x, sound_scales([1e-30, 1.0, 1e10]))
    assert torch.isfinite(back).all()
    assert (back.abs() <= x.abs().max() * 1.001).all()


@pytest.mark.parametrize("bad", [[1.0, -1.0], [np.nan, 1.0], [np.inf, 1.0], [[1.0, 2.0]]])
def test_senseless_channel_scales_are_refused(bad):
    with pytest.raises(Misuse, match="one finite number a channel"):
        sound_scales(bad)


@pytest.mark.parametrize("width", [1, 6, 33])
def test_half_precision_rows_and_outputs_of_any_width(width):
    x = torch.randn(40, width, generator=torch.Generator().manual_seed(1)).bfloat16()
    each = HookLayout(width=width, dtype="int8", chunk_rows=1, channel_scales=channel_scales(x))
    stored = encode_rows(x, each)
    assert stored.shape == empty_rows(40, each).shape == (40, width + 4)
    assert each.row_bytes == stored.shape[1] * stored.element_size()
    exact = decode_rows(stored, each, torch.empty(40, width))
    assert torch.equal(decode_rows(stored, each, torch.empty(40, width, dtype=torch.bfloat16)), exact.bfloat16())


# The store


def test_the_lines_of_the_format_page_read_an_int8_store(store, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "reference" / "store-format.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"^```py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(store.path.parent)
    for hook in HOOKS:
        names = {"zarr": zarr, "hook": hook}
        exec(lines, names)
        assert names["rows"].dtype == np.float32
        assert np.array_equal(names["rows"], store.read(hook, 0, store.rows).numpy())


def test_tensorstore_reads_values_and_scales(store):
    tensorstore = pytest.importorskip("tensorstore")
    q, row, channel = (
        tensorstore.open({"driver": "zarr3", "kvstore": f"file://{store.path}/{array}/{HOOK}/"})
        .result()
        .read()
        .result()
        for array in ("acts", "scales", "channels")
    )
    assert np.array_equal(q * row * channel, store.read(HOOK, 0, store.rows).numpy())


@pytest.mark.parametrize("codec", ["none", "zstd", "lz4"])
def test_every_way_of_reading_gives_the_same_rows(tmp_path, codec):
    store = filled_int8(tmp_path / "store.zarr", codec=codec)
    expected = store.read(HOOK, 0, store.rows)
    torch.testing.assert_close(expected.double(), rounded(values(HOOK), SCALES[HOOK]), rtol=1e-6, atol=1e-7)
    out = torch.zeros(50, WIDTH)
    assert torch.equal(store.read(HOOK, 10, 60, out=out), expected[10:60])
    assert torch.equal(store.read_rows(HOOK, [3, 100, 3]), expected[[3, 100, 3]])
    for batch in store.batches(HOOK, batch_size=16, seed=0, epochs=1):
        assert torch.equal(batch.x, expected[batch.rows])
    with pytest.raises(Misuse, match="contiguous float32"):
        store.read(HOOK, 0, 4, out=torch.empty(4, WIDTH, dtype=torch.int8))
    with pytest.raises(Misuse, match="have no scales"):
        store.batches(HOOK, batch_size=4, seed=0, dtype=torch.int8)


def test_statistics_are_those_of_the_rounded_values(store):
    rows = store.read(HOOK, 0, store.rows).double().numpy()[store.mask.reshape(-1)]
    statistics = store.statistics(HOOK)
    np.testing.assert_allclose(statistics.mean, rows.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(statistics.variance, rows.var(axis=0), rtol=1e-5)
    exact = values(HOOK).double().numpy()[store.mask.reshape(-1)]
    assert np.abs(statistics.variance - exact.var(axis=0)).max() > 1e-4


def test_bytes_are_the_same_each_time_and_with_any_number_of_threads(store, tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        again = filled_int8(tmp_path / "again.zarr")
    finally:
        torch.set_num_threads(before)
    assert data_files(again.path) == data_files(store.path)
    again.write_slab(3, slab_of(again, 3), worker=4)
    assert data_files(again.path) == data_files(store.path)


def test_sizes_are_planned_to_the_byte(store):
    shards = {key: size for key, size in store.objects.sizes().items() if key.startswith(("acts/", "scales/"))}
    assert sum(size for key, size in shards.items() if "/c/" in key) == store.layout.most_bytes
    assert verify(store) == {"complete": True, "shards": 4 * store.n_slabs, "damaged": []}


def test_an_int8_store_is_half_of_a_bfloat16_one():
    int8, bfloat16 = (
        plan_layout(context=256, sequences=1000, hooks={"a": 576}, dtype=dtype).most_bytes
        for dtype in ("int8", "bfloat16")
    )
    assert 1.95 < bfloat16 / int8 < 2


def test_pickled_stores_know_their_scales(store):
    assert torch.equal(pickle.loads(pickle.dumps(store)).read(HOOK, 0, 9), store.read(HOOK, 0, 9))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_by_name(tmp_path, value):
    store = empty_store(tmp_path / "store.zarr", dtype="int8", channel_scales=SCALES)
    rows = slab_of(store, 0)
    rows[HOOK][13, 4] = value
    with pytest.raises(Misuse, match=rf"{HOOK}.*sequence 1, position 5, component 4\) is {value}"):
        store.write_slab(0, rows)
    assert store.committed == []


def test_channel_scales_belong_to_int8_and_to_every_hook(tmp_path):
    def made(**options):
        return create_store(tmp_path / "s", **texts(), hooks=HOOKS, **options)

    with pytest.raises(Misuse, match="int8 needs the channel scales of every hook"):
        made(dtype="int8")
    with pytest.raises(Misuse, match=r"blocks\.1\.mlp\.hook_post are missing"):
        made(dtype="int8", channel_scales={HOOK: SCALES[HOOK]})
    with pytest.raises(Misuse, match="has width 6 and 5 channel scales"):
        made(dtype="int8", channel_scales={**SCALES, HOOK: SCALES[HOOK][:5]})
    with pytest.raises(Misuse, match="belong to int8"):
        made(dtype="bfloat16", channel_scales=SCALES)
    assert list(tmp_path.iterdir()) == []


# Damage


def flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


def test_damaged_row_scales_are_named_and_rewritten(tmp_path):
    store = filled_int8(tmp_path / "store.zarr")
    before = data_files(store.path)
    scales = store.path / "scales" / HOOK / "c" / "2" / "0"
    flip(scales, 5)
    (found,) = verify(store)["damaged"]
    assert found == {
        "slab": 2,
        "hook": HOOK,
        "chunk": 0,
        "problem": "the checksum of row scales does not match the content",
    }
    with pytest.raises(Damaged, match="chunk 0 of row scales does not match"):
        Store.open(store.path).read(HOOK, 64, 96)
    scales.unlink()
    (found,) = verify(store)["damaged"]
    assert found["problem"] == "its shard file of row scales is missing"
    store = Store.open(store.path)
    assert store.recover() == [2]
    store.write_slab(2, slab_of(store, 2))
    assert data_files(store.path) == before


def test_row_scales_of_another_slab_are_noticed(tmp_path):
    store = filled_int8(tmp_path / "store.zarr")
    scales = store.path / "scales" / HOOK / "c"
    rows = {hook: part * 2 for hook, part in slab_of(store, 1).items()}
    store.write_slab(1, rows)
    (scales / "0" / "0").write_bytes((scales / "1" / "0").read_bytes())
    assert [each["problem"] for each in verify(store)["damaged"]] == ["its shards are not those that were committed"]


def test_damaged_or_missing_channel_scales_are_named(tmp_path):
    store = filled_int8(tmp_path / "store.zarr")
    channels = store.path / "channels" / HOOK / "c" / "0"
    flip(channels, 2)
    with pytest.raises(
        Damaged, match=r"channels/.* does not match its content, and int8 rows cannot be read without it"
    ):
        Store.open(store.path)
    channels.unlink()
    with pytest.raises(Damaged, match=r"channels/.* is missing, and int8 rows"):
        verify(store.path)
    assert store.rows == SEQUENCES * CONTEXT
