"""What `actpipe info STORE` says of rows that were planted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from actpipe.errors import Damaged
from actpipe.store import Store, create_store
from actpipe.store.advice import advice
from actpipe.store.checksums import write_checked
from actpipe.store.health import RowPlace, _quantile, examine
from actpipe.store.health_record import count_norms, health_key
from actpipe.store.slab_summary import slab_summary
from cli.info import command
from tests.small_store import HOOK as SMALL_HOOK
from tests.small_store import filled_store

CONTEXT, SEQUENCES, WIDTH, HOOK = 16, 256, 32, "blocks.0.hook_resid_post"


def planted_store(
    path: Path, x: torch.Tensor, *, sinks: int = 1, dtype: str = "bfloat16", documents: int = 256
) -> Store:
    """Token p at position p; the first `sinks` positions do not count; two slabs and more."""
    mask = np.ones((SEQUENCES, CONTEXT), bool)
    mask[:, :sinks] = False
    texts = {
        "tokens": np.tile(np.arange(CONTEXT), (SEQUENCES, 1)),
        "doc": np.tile(np.arange(SEQUENCES)[:, None] * documents // SEQUENCES, (1, CONTEXT)),
        "mask": mask,
    }
    store = create_store(
        path,
        **texts,
        hooks={HOOK: x.shape[1]},
        dtype=dtype,
        config={"model": {"name": "no/model"}},
        max_slab_bytes=2**17,
    )
    assert store.n_slabs > 1
    for slab in store.pending:
        start, stop = store.slab_range(slab)
        rows = x[start * CONTEXT : stop * CONTEXT]
        store.write_slab(slab, {HOOK: rows})
        parts = (store.mask[start:stop].reshape(-1), store.doc[start:stop].reshape(-1))
        record = slab_summary(store.layout, HOOK, slab, rows, *parts).health
        write_checked(store.objects, health_key(HOOK, slab), record.pack())
    return store


def noise() -> torch.Tensor:
    """Rows of length about 5.7 in 32 equal directions."""
    return torch.randn(SEQUENCES * CONTEXT, WIDTH, generator=torch.Generator().manual_seed(0))


def test_of_noise_every_number_is_known_and_nothing_is_advised(tmp_path):
    health = examine(planted_store(tmp_path / "s", noise()), HOOK)
    assert (health.rows, health.documents, health.constant_channels) == (SEQUENCES * (CONTEXT - 1), 256, 0)
    assert health.gamma < 0.1
    assert health.norms.median == pytest.approx(WIDTH**0.5, rel=0.05)
    assert health.norms.others == SEQUENCES
    assert health.root_mean_square == pytest.approx(WIDTH**0.5, rel=0.02)
    assert health.spread.participation == pytest.approx(WIDTH, rel=0.03)
    assert 27 <= health.spread.directions <= 29  # 90 % of 32 equal ones
    assert 1e-5 < health.spread.int8_loss < 1e-4  # (2.3/127)² / 12 and the like
    assert health.sinks.rows == 0
    assert advice(health) == []


def test_the_participation_ratio_counts_directions(tmp_path):
    x = noise()
    x[:, 4:] = 0
    health = examine(planted_store(tmp_path / "s", x), HOOK)
    assert health.spread.participation == pytest.approx(4, rel=0.02)
    assert health.spread.directions == 4
    assert health.constant_channels == WIDTH - 4
    assert any(f"{WIDTH - 4} of {WIDTH} channels never change" in each for each in advice(health))


def test_channels_that_never_move_are_no_directions(tmp_path):
    """Neurons behind a mask: 364 of 384 are 0 on every row, which the solver in float32 does not survive."""
    random = torch.Generator().manual_seed(0)
    x = torch.zeros(SEQUENCES * CONTEXT, 384)
    x[:, torch.randperm(384, generator=random)[:20]] = torch.randn(len(x), 20, generator=random).sub(1).relu()
    health = examine(planted_store(tmp_path / "s", x), HOOK)
    assert health.constant_channels == 364
    assert health.spread.participation == pytest.approx(20, rel=0.05)
    assert health.spread.directions <= 20


def test_a_mean_far_from_zero_is_centring_s_business(tmp_path):
    x = noise()
    x[:, 0] += 3 * WIDTH**0.5
    health = examine(planted_store(tmp_path / "s", x), HOOK)
    assert health.gamma == pytest.approx(3, rel=0.02)
    (sentence,) = advice(health)
    assert "times as long as the spread (γ)" in sentence
    assert "train-sae subtracts the mean" in sentence


def test_a_massive_channel_is_named_with_its_rows(tmp_path):
    x = noise()
    x[:, 9] *= 20
    x[5 * CONTEXT + 3, 9] = -25_088
    health = examine(planted_store(tmp_path / "s", x), HOOK)
    first = health.largest[0]
    assert (first.channel, first.value) == (9, -25_088)
    assert first.place == RowPlace(row=83, sequence=5, position=3, document=5, token=3, counted=True)
    assert health.channels[0].channel == 9
    assert health.reach == 25_088
    assert any("Channel 9 has 100% of the variance, so an FVU says little" in each for each in advice(health))


def test_sinks_that_count_are_found_by_position_and_cured_by_an_option(tmp_path):
    x = noise()
    x[::CONTEXT] *= 1000
    x[1::CONTEXT] *= 50
    health = examine(planted_store(tmp_path / "s", x), HOOK)
    assert health.sinks.rows == SEQUENCES
    assert health.sinks.positions == (1,)
    assert health.sinks.energy == pytest.approx(0.99, abs=0.02)
    assert {each.place.token for each in health.sinks.longest} == {1}
    assert health.norms.others_mean == pytest.approx(1000 * health.norms.median, rel=0.1)
    assert any("--sink-positions 2" in each for each in advice(health))
    cured = examine(planted_store(tmp_path / "cured", x, sinks=2), HOOK)
    assert cured.sinks.rows == 0
    assert advice(cured) == []


def test_sinks_far_from_the_beginning_are_not_blamed_on_it(tmp_path):
    x = noise()
    x[9::CONTEXT] *= 60
    health = examine(planted_store(tmp_path / "s", x), HOOK)
    assert health.sinks.positions == (9,)
    assert any("at no leading position" in each for each in advice(health))


def test_few_documents_and_the_end_of_float16_are_told(tmp_path):
    x = noise()
    x[100, 0] = 40_000
    sentences = " ".join(advice(examine(planted_store(tmp_path / "s", x, dtype="float16", documents=3), HOOK)))
    assert "come from 3 documents" in sentences
    assert "40,000 and float16 ends at 65,504" in sentences


def test_rows_that_are_all_the_same_or_zero_are_told(tmp_path):
    same = examine(planted_store(tmp_path / "same", torch.ones(SEQUENCES * CONTEXT, WIDTH)), HOOK)
    assert same.gamma is None
    assert same.spread is None
    assert advice(same) == ["All rows are the same: there is nothing to learn. Choose another hook."]
    x = noise()
    x[: len(x) // 2] = 0
    zero = examine(planted_store(tmp_path / "zero", x), HOOK)
    assert any(each.endswith("Harvest another hook, or more tokens.") for each in advice(zero))


def test_int8_is_blamed_for_what_it_loses(tmp_path):
    health = examine(planted_store(tmp_path / "s", noise()), HOOK)
    poor = replace(health, dtype="int8", spread=replace(health.spread, int8_loss=0.034))
    assert advice(poor) == [
        "int8 loses about 3.4% of the variance, which bounds every FVU from below. Harvest with --dtype bfloat16."
    ]


def test_quantiles_of_the_histogram_are_good_to_a_few_per_cent():
    norms = np.exp(np.random.default_rng(0).normal(size=100_000))
    for q in (0.01, 0.5, 0.99):
        assert _quantile(count_norms(norms), q) == pytest.approx(np.quantile(norms, q), rel=0.04)


def test_a_missing_record_is_damage(tmp_path):
    store = planted_store(tmp_path / "s", noise())
    (store.path / health_key(HOOK, 1)).unlink()
    with pytest.raises(Damaged, match=r"Slab 1 .* its health record is missing"):
        examine(store, HOOK)


def test_a_store_of_version_1_says_nothing_of_health(tmp_path):
    root = planted_store(tmp_path / "s", noise()).path / "zarr.json"
    root.write_text(root.read_text().replace('"version": 2', '"version": 1'))
    store = Store.open(tmp_path / "s")
    for slab in store.committed:
        (store.path / health_key(HOOK, slab)).unlink()
    health = examine(store, HOOK)
    assert (health.norms, health.sinks, health.largest, health.reach) == (None, None, (), None)
    assert health.spread is not None
    shown = CliRunner().invoke(command, [str(store.path)]).output
    assert "norm of a row" not in shown
    assert "effective rank" in shown


def test_a_store_with_no_slab_yet_is_described(tmp_path):
    store = planted_store(tmp_path / "s", noise())
    for slab in store.committed:
        store.withdraw(slab)
    assert advice(examine(store, HOOK)) == [
        "No rows are there yet. Finish the harvest, or train without them: train-sae --from-model."
    ]
    done = CliRunner().invoke(command, [str(store.path)])
    assert done.exit_code == 0, done.output


def test_info_shows_the_numbers_and_json_holds_them(tmp_path):
    x = noise()
    x[5 * CONTEXT + 3, 9] = 512
    path = planted_store(tmp_path / "s", x, documents=9).path
    shown = CliRunner().invoke(command, [str(path)]).output
    assert "512 in channel 9 at token 3 (position 3, document 0)" in shown
    assert "The rows come from 9 documents" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 110
    printed = json.loads(CliRunner().invoke(command, [str(path), "--json"]).output)
    assert printed["health"][HOOK]["largest"][0]["value"] == 512
    assert printed["advice"][HOOK]


def test_the_last_chunk_of_a_store_may_be_cut_by_its_end(tmp_path):
    """Chunks of two sequences, and an odd number of sequences."""
    store = filled_store(tmp_path / "s", max_slab_bytes=2**20)
    assert store.sequences % (store.layout.hooks[SMALL_HOOK].chunk_rows // store.context)
    assert examine(store, SMALL_HOOK).spread is not None
