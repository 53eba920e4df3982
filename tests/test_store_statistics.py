"""The summary of a slab against numpy in float64, over the same rows."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from actpipe.errors import Misuse
from actpipe.store.health_record import BINS, COUNTED, KEPT, OTHER, HealthRecord, bin_edges, merge_records, record_width
from actpipe.store.layout import plan_layout
from actpipe.store.slab_summary import slab_summary
from actpipe.store.statistics import merge

CONTEXT, SEQUENCES, WIDTH = 16, 64, 24
ROWS = CONTEXT * SEQUENCES


def layout(width: int = WIDTH, dtype: str = "bfloat16", sequences: int = SEQUENCES, **sizes: int):
    return plan_layout(context=CONTEXT, sequences=sequences, hooks={"h": width}, dtype=dtype, **sizes)


def noise(rows: int = ROWS, width: int = WIDTH) -> torch.Tensor:
    """One massive channel, and first positions a hundred times as long as the others."""
    x = torch.randn(rows, width, generator=torch.Generator().manual_seed(0))
    x[:, 3] = x[:, 3] * 70 + 250
    x[::CONTEXT] *= 100
    return x.bfloat16()


@pytest.fixture
def texts() -> dict[str, np.ndarray]:
    """The first position does not count; the last three of every fourth sequence are padding."""
    mask = np.ones((SEQUENCES, CONTEXT), bool)
    mask[:, 0] = False
    doc = np.repeat(np.arange(SEQUENCES), CONTEXT).reshape(SEQUENCES, CONTEXT)
    mask[::4, -3:], doc[::4, -3:] = False, -1
    return {"mask": mask.reshape(-1), "doc": doc.reshape(-1)}


def test_moments_are_those_of_float64(texts):
    x = noise()
    summary = slab_summary(layout(), "h", 0, x, **texts)
    rows = x.double().numpy()[texts["mask"]]
    np.testing.assert_allclose(summary.moments[0], rows.mean(axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(summary.moments[1], ((rows - rows.mean(axis=0)) ** 2).sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize(("mean", "deviation"), [(25_000.0, 300.0), (1e4, 1.0), (-3e-5, 1e-8), (0.0, 0.0)])
def test_the_variance_keeps_its_digits_however_far_the_mean_is(mean, deviation):
    x = torch.randn(70_000, 3, generator=torch.Generator().manual_seed(1)) * deviation + mean
    x[:, 1] = torch.randn(70_000, generator=torch.Generator().manual_seed(2))
    n = 70_000 // CONTEXT * CONTEXT
    sizes = layout(3, "float32", n // CONTEXT)
    summary = slab_summary(sizes, "h", 0, x[:n], np.ones(n, bool))
    rows = x[:n].double().numpy()
    np.testing.assert_allclose(summary.moments[1] / n, rows.var(axis=0), rtol=1e-5)
    np.testing.assert_allclose(summary.moments[0], rows.mean(axis=0), rtol=1e-6, atol=1e-6)


def test_norms_are_counted_by_class_and_padding_is_in_neither(texts):
    x = noise()
    record = slab_summary(layout(), "h", 0, x, **texts).health
    norms = np.linalg.norm(x.double().numpy(), axis=1)
    other = ~texts["mask"] & (texts["doc"] >= 0)
    assert other.sum() == SEQUENCES
    for which, inside in ((COUNTED, texts["mask"]), (OTHER, other)):
        assert record.rows[which] == inside.sum() == record.histogram[which].sum() == record.position_rows[which].sum()
        assert record.norm_sum[which] == pytest.approx(norms[inside].sum(), rel=1e-6)
        assert record.square_sum[which] == pytest.approx((norms[inside] ** 2).sum(), rel=1e-6)
        assert np.array_equal(record.histogram[which], np.histogram(norms[inside], bin_edges())[0])
        by_position = np.where(inside, norms**2, 0).reshape(-1, CONTEXT).sum(axis=0)
        np.testing.assert_allclose(record.position_squares[which], by_position, rtol=1e-6)
    without = slab_summary(layout(), "h", 0, x, texts["mask"]).health
    assert without.rows[OTHER] == (~texts["mask"]).sum()


def test_the_largest_values_and_longest_rows_are_named(texts):
    x = torch.full((ROWS, WIDTH), 0.5, dtype=torch.bfloat16)
    x[37, 5], x[100, 0], x[900, 23], x[32, 7] = -4000, 300, 300, 8192  # row 32 is a first position
    record = slab_summary(layout(), "h", 0, x, **texts).health
    assert record.largest[COUNTED, :3].tolist() == [[37, 5, -4000], [100, 0, 300], [900, 23, 300]]
    assert record.largest[COUNTED, 3, 2] == 0.5
    assert record.largest[OTHER, 0].tolist() == [32, 7, 8192]
    assert record.longest[COUNTED, :3, 0].tolist() == [37, 100, 900]
    assert record.longest[OTHER, 0] == pytest.approx([32, 8192], rel=1e-6)


def test_lengths_outside_the_histogram_are_in_its_ends():
    x = torch.zeros(CONTEXT, 2)
    x[1], x[2] = 1e-12, 1e18
    record = slab_summary(layout(2, "float32", 1), "h", 0, x, np.ones(CONTEXT, bool)).health
    assert record.histogram[COUNTED, 0] == CONTEXT - 1
    assert record.histogram[COUNTED, BINS - 1] == 1


def test_a_class_without_rows_is_empty():
    summary = slab_summary(layout(), "h", 0, noise(), np.zeros(ROWS, bool), np.full(ROWS, -1))
    assert not summary.moments.any()
    assert not summary.health.rows.any()
    assert (summary.health.largest == [-1, -1, 0]).all()
    assert (summary.health.longest == [-1, 0]).all()


def test_records_pack_to_the_width_of_the_format_and_back(texts):
    record = slab_summary(layout(), "h", 0, noise(), **texts).health
    packed = record.pack()
    assert packed.shape == (2, record_width(CONTEXT)) == (2, 339 + 2 * CONTEXT)
    assert packed.dtype == np.float64
    assert packed[1, 259:262].tolist() == record.largest[1, 0].tolist()  # offsets of the format
    assert packed[0, 307] == record.longest[0, 0, 0]
    assert packed[0, 339] == record.position_rows[0, 0]
    again = HealthRecord.unpack(packed)
    assert all(np.array_equal(getattr(again, name), getattr(record, name)) for name in vars(record))


def test_slabs_merge_to_the_summary_of_the_whole(texts):
    x = noise()
    whole = slab_summary(layout(), "h", 0, x, **texts)
    small = layout(max_slab_bytes=16 * CONTEXT * WIDTH * 2)
    assert small.n_slabs == 4
    parts = []
    for slab in range(4):
        part = slice(slab * ROWS // 4, (slab + 1) * ROWS // 4)
        parts.append(slab_summary(small, "h", slab, x[part], texts["mask"][part], texts["doc"][part]))
    merged = merge_records(part.health for part in parts)
    for name in vars(whole.health):
        np.testing.assert_allclose(getattr(merged, name), getattr(whole.health, name), rtol=1e-12, err_msg=name)
    moments = merge(((int(part.health.rows[COUNTED]), part.moments) for part in parts), WIDTH)
    np.testing.assert_allclose(moments.mean, whole.moments[0], rtol=1e-6)
    np.testing.assert_allclose(moments.variance * moments.count, whole.moments[1], rtol=1e-5)
    assert merge_records([]) is None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_summary_is_of_the_stored_values(dtype, texts):
    given = noise().float() / 64 + 2**-9
    stored = given.to(getattr(torch, dtype))
    one, other = (slab_summary(layout(dtype=dtype), "h", 0, x, **texts) for x in (given, stored))
    np.testing.assert_allclose(one.moments, other.moments, rtol=1e-5)
    assert np.array_equal(one.health.pack(), other.health.pack())


def test_lengths_whose_squares_overflow_float32_are_right(texts):
    x = noise().float() * 2.0**100
    record = slab_summary(layout(dtype="float32"), "h", 0, x, **texts).health
    norms = np.linalg.norm(x.double().numpy()[texts["mask"]], axis=1)
    assert record.norm_sum[COUNTED] == pytest.approx(norms.sum(), rel=1e-6)
    assert record.longest[COUNTED, 0, 1] == pytest.approx(norms.max(), rel=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("row", "document"), [(20, "document 1, "), (16, "document 1, "), (15, "")])
def test_a_value_that_is_not_finite_is_refused_with_its_document(value, row, document, texts):
    x = noise()  # row 16 is a first position, row 15 is padding
    x[row, 7] = value
    place = rf"hook 'h', {document}slab 0 \(sequence {row // CONTEXT}, position {row % CONTEXT}, component 7\)"
    with pytest.raises(Misuse, match=f"{place} is {str(value).strip('-')}|{place} is {value}"):
        slab_summary(layout(), "h", 0, x, **texts)


BITS = """
import hashlib, numpy as np, torch
from tests.test_store_statistics import layout
from actpipe.store.slab_summary import slab_summary
x = torch.randn(160, 12_000, generator=torch.Generator().manual_seed(0)) + 1
summary = slab_summary(layout(12_000, sequences=10), "h", 0, x.bfloat16(), np.arange(160) % 16 > 0)
print(hashlib.sha256(summary.moments.tobytes() + summary.health.pack().tobytes()).hexdigest())
"""


def test_the_bits_do_not_depend_on_the_number_of_threads():
    found = set()
    for threads in ("1", "2", "5"):
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        done = subprocess.run(
            [sys.executable, "-c", BITS], env=os.environ | limits, cwd=Path(__file__).parents[1], capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
        found.add(done.stdout)
    assert len(found) == 1


def test_only_the_longest_rows_are_searched_for_large_values(texts):
    record = slab_summary(layout(), "h", 0, noise(), **texts).health
    rows = noise().float().numpy() * texts["mask"][:, None]
    searched = np.argsort(-np.linalg.norm(rows, axis=1), kind="stable")[:64]
    expected = np.sort(np.abs(rows[searched]).reshape(-1))[::-1][:KEPT]
    np.testing.assert_array_equal(np.abs(record.largest[COUNTED, :, 2]), expected)
