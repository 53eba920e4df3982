from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import actpipe
from actpipe.errors import Failure, Mismatch, Misuse
from actpipe.harvest import plan, stage
from actpipe.harvest.capture import capture
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.model import load_model
from actpipe.harvest.sites import find_sites
from actpipe.harvest.stage import harvest

HOOKS = ("blocks.1.hook_resid_post", "blocks.1.mlp.hook_post")


@pytest.fixture
def config(saved_models: dict[str, Path], text_file: Path, tmp_path: Path) -> HarvestConfig:
    return HarvestConfig(
        model=str(saved_models["llama"]),
        dataset=str(text_file),
        hook=HOOKS,
        tokens=3000,
        context=24,
        batch_size=4,
        model_dtype="float32",
        dtype="float32",
        device="cpu",
        out=tmp_path / "store.zarr",
    )


def files_of(store: Path) -> dict[str, bytes]:
    """Everything but the commit records, which know when they were written."""
    files = (path for path in sorted(store.rglob("*")) if path.is_file())
    return {str(p.relative_to(store)): p.read_bytes() for p in files if "commit" not in p.relative_to(store).parts}


def test_a_store_holds_what_the_model_computes(config: HarvestConfig) -> None:
    result = harvest(config)
    assert (result.complete, result.rows) == (True, 3000)
    assert result.hooks == {"blocks.1.hook_resid_post": 32, "blocks.1.mlp.hook_post": 48}
    assert result.bytes > 3000 * (32 + 48) * 4
    store = actpipe.open_store(config.out)
    model = load_model(config.model, dtype="float32", device="cpu")
    sites = find_sites(HOOKS, model.config, model.tokenizer)
    with capture(model, sites) as run:
        # A sequence on its own: that it shared a batch makes no difference beyond rounding.
        taken = run(torch.as_tensor(store.tokens[7:8], dtype=torch.long))
    for hook in HOOKS:
        stored = store.read(hook, 7 * 24, 8 * 24)
        torch.testing.assert_close(stored, taken[hook][0], rtol=1e-4, atol=1e-5)


def test_hooks_keep_the_order_they_were_asked_for(config: HarvestConfig) -> None:
    harvest(replace(config, hook=HOOKS[::-1]))
    assert tuple(actpipe.open_store(config.out).hooks) == HOOKS[::-1]


def test_running_again_changes_nothing(config: HarvestConfig) -> None:
    harvest(config)
    before = files_of(config.out)
    result = harvest(config)
    assert (result.complete, result.tokens_per_second) == (True, None)
    assert files_of(config.out) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tokens": 4000}, "dataset.tokens is 3000 there and 4000 here"),
        ({"context": 20}, "packing.context is 24 there and 20 here"),
        ({"dtype": "bfloat16"}, "dtype is 'float32' there and 'bfloat16' here"),
        ({"hook": HOOKS[:1]}, "blocks.1.mlp.hook_post"),
    ],
)
def test_two_harvests_are_never_mixed(config: HarvestConfig, change: dict[str, object], named: str) -> None:
    harvest(config)
    before = files_of(config.out)
    with pytest.raises(Mismatch, match=named):
        harvest(replace(config, **change))  # type: ignore[arg-type]
    assert files_of(config.out) == before


def test_overwrite_starts_anew_and_removes_nothing_but_a_store(config: HarvestConfig, tmp_path: Path) -> None:
    harvest(config)
    assert harvest(replace(config, tokens=2400, overwrite=True)).rows == 2400
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "thesis.txt").write_text("mine")
    with pytest.raises(Misuse):
        harvest(replace(config, out=treasure, overwrite=True))
    assert (treasure / "thesis.txt").read_text() == "mine"


def test_a_short_text_gives_a_short_store_and_an_empty_one_none(config: HarvestConfig, tmp_path: Path) -> None:
    short = harvest(replace(config, tokens=10**7))
    assert 24 <= short.rows < 10**7
    empty = tmp_path / "empty.txt"
    empty.write_text("a")
    with pytest.raises(Misuse, match="does not fill one sequence"):
        harvest(replace(config, dataset=str(empty), out=tmp_path / "none.zarr"))
    assert not (tmp_path / "none.zarr").exists()


def test_a_store_that_does_not_fit_is_refused_before_anything_is_written(
    config: HarvestConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(config.out.parent)
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    with pytest.raises(Failure, match="has 100 kB free"):
        harvest(config)
    assert list(config.out.parent.iterdir()) == []


def test_an_empty_folder_is_a_place_for_a_store_and_another_folder_is_left_alone(config: HarvestConfig) -> None:
    config.out.mkdir()
    assert harvest(config).complete
    with pytest.raises(Misuse, match="is not a store, so it is left alone"):
        harvest(replace(config, out=config.out.parent))


def test_a_context_longer_than_the_model_reads_is_refused(config: HarvestConfig) -> None:
    with pytest.raises(Misuse, match="reads 64 tokens at most"):
        harvest(replace(config, context=65))


def test_a_device_that_is_not_there_is_one_sentence(config: HarvestConfig) -> None:
    for device in ("gpu", "cuda:77"):
        with pytest.raises(Misuse, match=f"The device '{device}' is not there"):
            harvest(replace(config, device=device))


def test_a_store_beyond_max_disk_is_refused_before_anything_is_written(config: HarvestConfig) -> None:
    with pytest.raises(
        Misuse, match=r"needs 9\d\d kB and --max-disk allows 500 kB|needs 1\.\d+ MB and --max-disk allows 500 kB"
    ):
        harvest(replace(config, max_disk=500_000))
    assert list(config.out.parent.iterdir()) == []


def test_a_plan_counts_what_the_store_will_hold_and_writes_nothing(config: HarvestConfig) -> None:
    planned = stage.plan(config)
    assert list(config.out.parent.iterdir()) == []
    assert planned.tokens == 3000
    assert planned.hooks == {"blocks.1.hook_resid_post": 3000 * 32 * 4, "blocks.1.mlp.hook_post": 3000 * 48 * 4}
    assert planned.bytes == sum(planned.hooks.values()) == 960_000
    assert 0 < planned.seconds < 600
    # Beside the activations: tokens, checksums, statistics, metadata.
    assert planned.bytes < harvest(config).bytes < 1.2 * planned.bytes


def test_nothing_is_written_for_an_unknown_hook(config: HarvestConfig) -> None:
    with pytest.raises(Misuse, match=r"no hook 'blocks\.9\.hook_resid_post'"):
        harvest(replace(config, hook=("blocks.9.hook_resid_post",)))
    assert list(config.out.parent.iterdir()) == []


def test_activations_that_are_not_finite_are_named_and_not_committed(
    config: HarvestConfig, tmp_path: Path, tokenizer: object
) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(config.model)
    model.model.layers[1].mlp.down_proj.weight.data[0, 0] = float("nan")
    broken = tmp_path / "broken"
    model.save_pretrained(broken)
    tokenizer.save_pretrained(broken)  # type: ignore[attr-defined]
    with pytest.raises(Misuse, match=r"blocks\.1\.hook_resid_post', document 0 \(sequence 0, position 0.* is nan"):
        harvest(replace(config, model=str(broken)))
    assert not config.out.exists()


HARVEST_SLOWLY = """
import sys, time
from pathlib import Path
import torch; torch.set_num_threads(1)
from actpipe.harvest import plan, stage
from actpipe.harvest.config import HarvestConfig
plan.SMALLEST_SLAB_BYTES = 1 << 16
write = stage.Store.write_slab
def slowly(self, slab, rows):
    time.sleep(0.05)  # so that the kill can hit between and inside slabs
    write(self, slab, rows)
stage.Store.write_slab = slowly
stage.harvest(eval(sys.argv[1], {"HarvestConfig": HarvestConfig, "PosixPath": Path}))
"""


def run_slowly(config: HarvestConfig) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(Path(actpipe.__file__).parent.parent)}
    return subprocess.Popen([sys.executable, "-c", HARVEST_SLOWLY, repr(config)], env=environment)


@pytest.mark.slow  # ten interpreters; tests/test_harvest_faults.py kills fifty forked processes in every run
def test_a_killed_harvest_ends_with_the_same_bytes(config: HarvestConfig, tmp_path: Path) -> None:
    whole = replace(config, out=tmp_path / "whole.zarr")
    assert run_slowly(whole).wait() == 0
    draw, kills = random.Random(0), 0
    for _ in range(8):
        process = run_slowly(config)
        deadline = time.monotonic() + 60
        while not config.out.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.4))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert run_slowly(config).wait() == 0
    assert kills >= 3
    assert files_of(config.out) == files_of(whole.out)
    assert not list(config.out.rglob("*.partial"))


def test_an_interrupted_harvest_continues_at_the_first_missing_slab(
    config: HarvestConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SMALLEST_SLAB_BYTES", 1 << 16)
    whole = harvest(replace(config, out=tmp_path / "whole.zarr"))
    write = stage.Store.write_slab

    def interrupted(self: stage.Store, slab: int, rows: dict[str, torch.Tensor]) -> None:
        if slab == 2:
            raise KeyboardInterrupt
        write(self, slab, rows)

    with monkeypatch.context() as patched:
        patched.setattr(stage.Store, "write_slab", interrupted)
        with pytest.raises(KeyboardInterrupt):
            harvest(config)
    store = actpipe.open_store(config.out)
    assert store.n_slabs > 3
    assert store.committed == [0, 1]
    assert harvest(config).complete
    assert files_of(config.out) == files_of(Path(whole.out))
    assert np.array_equal(store.tokens, actpipe.open_store(whole.out).tokens)


def test_an_encoder_is_harvested_one_document_a_sequence_and_padding_never_counts(
    config: HarvestConfig, saved_models: dict[str, Path]
) -> None:
    config = replace(config, model=str(saved_models["bert"]))
    assert harvest(config).complete
    store = actpipe.open_store(config.out)
    padding = store.doc < 0
    assert padding.any()
    assert not (store.mask & padding).any()
    rows = store.read(HOOKS[0], 0, store.rows)
    assert not rows[torch.from_numpy(padding.reshape(-1))].any()
    model = load_model(config.model, dtype="float32", device="cpu")
    sequence = int(np.flatnonzero(padding.any(axis=1))[0])
    length = int((~padding[sequence]).sum())
    with capture(model, find_sites(HOOKS[:1], model.config, model.tokenizer)) as run:
        alone = run(torch.as_tensor(store.tokens[sequence : sequence + 1, :length], dtype=torch.long))[HOOKS[0]][0]
    torch.testing.assert_close(rows[sequence * 24 : sequence * 24 + length], alone, rtol=1e-4, atol=1e-5)


def test_one_pass_takes_encoder_decoder_and_cross_attention_of_t5(
    config: HarvestConfig, saved_models: dict[str, Path]
) -> None:
    hooks = ("encoder_blocks.1.hook_out", "decoder_blocks.2.hook_out", "decoder_blocks.1.cross_attn.hook_out")
    config = replace(config, model=str(saved_models["t5"]), hook=hooks)
    assert tuple(harvest(config).hooks) == hooks
    store = actpipe.open_store(config.out)
    model = load_model(config.model, dtype="float32", device="cpu")
    assert set(store.tokens[:, 0].tolist()) == {model.opening_token}
    ids = torch.as_tensor(store.tokens[3:4], dtype=torch.long)
    with torch.inference_mode():
        encoded = model.module(
            input_ids=ids[:, 1:],  # the text alone
            decoder_input_ids=ids,
            output_hidden_states=True,
        )
    encoder = store.read(hooks[0], 3 * 24 + 1, 4 * 24)
    # The last state of transformers is behind the final norm; the block before it is not.
    assert encoder.shape == (23, 32)
    decoder = store.read(hooks[1], 3 * 24, 4 * 24)
    normed = model.module.decoder.final_layer_norm(decoder)
    torch.testing.assert_close(normed, encoded.decoder_hidden_states[-1][0], rtol=1e-3, atol=1e-4)
    normed = model.module.encoder.final_layer_norm(encoder)
    torch.testing.assert_close(normed, encoded.encoder_last_hidden_state[0], rtol=1e-3, atol=1e-4)


def test_the_start_token_of_a_decoder_cannot_be_changed(config: HarvestConfig, saved_models: dict[str, Path]) -> None:
    with pytest.raises(Misuse, match=r"begins with a token of its own .* leave --first auto"):
        harvest(replace(config, model=str(saved_models["t5"]), hook=("encoder_blocks.1.hook_out",), first="none"))


def test_the_batch_size_found_by_trial_is_recorded_and_kept(config: HarvestConfig) -> None:
    first = replace(config, batch_size=None)
    assert harvest(first).complete
    store = actpipe.open_store(config.out)
    size = store.config["batch_size"]
    assert size >= 1
    assert size & (size - 1) == 0
    store.withdraw(0)
    assert harvest(first).complete  # no new trial, no other number
    assert harvest(replace(config, batch_size=size)).complete
    with pytest.raises(Mismatch, match=f"batch_size is {size} there and {size + 1} here"):
        harvest(replace(config, batch_size=size + 1))


def test_the_policy_of_special_tokens_is_recorded_and_two_are_never_mixed(config: HarvestConfig) -> None:
    config = replace(config, first="none", separator="none", sink_positions=2)
    harvest(config)
    store = actpipe.open_store(config.out)
    assert (store.config["packing"]["first"], store.config["packing"]["separator"]) == (None, None)
    assert not store.mask[:, :2].any()
    assert store.mask[:, 2:].all()
    with pytest.raises(Mismatch, match=r"packing\.sink_positions is 2 there and 1 here"):
        harvest(replace(config, sink_positions=1))


def test_text_alone_is_a_store_that_the_same_harvest_fills(config: HarvestConfig) -> None:
    result = harvest(config, text_only=True)
    assert (result.complete, result.tokens_per_second) == (False, None)
    store = actpipe.open_store(config.out)
    assert store.tokens.size == 3000
    assert store.committed == []
    assert harvest(config).complete


def test_a_dry_run_of_a_long_text_reads_only_its_beginning(
    config: HarvestConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "DRY_RUN_TOKENS", 480)
    assert stage.plan(replace(config, tokens=10**9)).tokens >= 10**9
    monkeypatch.undo()
    assert stage.plan(replace(config, tokens=10**9)).tokens < 10**6  # here the text ends before the limit


@pytest.mark.parametrize(
    "name", ["tokens/c/0/0", "doc/zarr.json", "acts/blocks.1.mlp.hook_post/zarr.json", "commit/zarr.json"]
)
@pytest.mark.parametrize("how", ["flip", "remove"])
def test_texts_and_metadata_are_mended_by_the_same_harvest(config: HarvestConfig, name: str, how: str) -> None:
    from actpipe.store import verify

    harvest(config)
    before = files_of(config.out)
    path = config.out / name
    content = path.read_bytes()
    path.unlink() if how == "remove" else path.write_bytes(b"!" + content[1:])
    assert verify(config.out)["damaged"]
    assert harvest(config).complete
    assert files_of(config.out) == before
    assert path.read_bytes() == content
    assert verify(config.out) == {"complete": True, "shards": verify(config.out)["shards"], "damaged": []}


def test_a_damaged_text_is_not_mended_from_another_one(config: HarvestConfig, text_file: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    shutil.copy(text_file, text)
    config = replace(config, dataset=str(text))
    harvest(config)
    (config.out / "tokens" / "c" / "0" / "0").unlink()
    text.write_text(text.read_text().replace("the", "an"))
    with pytest.raises(Mismatch, match=r"dataset\.fingerprint"):
        harvest(config)
