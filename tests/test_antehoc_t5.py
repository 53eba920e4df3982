"""T5 with pluggable attention: transformers' numbers, its hooks, padding, annealing, and the way through harvest."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import actpipe
from actpipe.antehoc.attention import NORMALISERS
from actpipe.antehoc.hugging_face import load, save
from actpipe.antehoc.t5 import T5
from actpipe.antehoc.t5_checkpoint import changed, load_t5
from actpipe.errors import Mismatch, Missing, Misuse
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.model import load_config, load_model, load_tokenizer
from actpipe.harvest.sites import all_sites
from actpipe.harvest.stage import harvest

TINY = {"vocabulary": 40, "d_model": 24, "n_layers": 2, "n_decoder_layers": 3, "n_heads": 3, "d_head": 4, "d_mlp": 32}
SPARSE = ["topk:k=2", "statistical_topk:k=2", "sparsemax", "entmax", "adaptive_entmax", "relu", "rela", "kwta:k=5"]


def batch(vocabulary: int = 40, seed: int = 0) -> dict[str, torch.Tensor]:
    """Three sequences of 9, 6 and 1 tokens, and answers of 5."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(9)[None] < torch.tensor([[9], [6], [1]])
    return {
        "input_ids": torch.randint(0, vocabulary, (3, 9), generator=generator),
        "attention_mask": mask.long(),
        "decoder_input_ids": torch.randint(0, vocabulary, (3, 5), generator=generator),
    }


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


# Beside transformers


@pytest.fixture(scope="module")
def theirs(saved_models: dict[str, Path]) -> Any:
    from transformers import T5ForConditionalGeneration

    return T5ForConditionalGeneration.from_pretrained(saved_models["t5"]).eval()


@torch.no_grad()
def test_an_original_t5_has_the_same_logits(saved_models: dict[str, Path], theirs: Any) -> None:
    _, network = load_t5(saved_models["t5"])
    inputs = batch(400)
    close(network.logits(**inputs), theirs(**inputs).logits)
    inputs.pop("attention_mask")
    close(network.logits(**inputs), theirs(**inputs).logits)


@torch.no_grad()
def test_long_distances_have_transformers_buckets(tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=40, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2,
        relative_attention_num_buckets=16, relative_attention_max_distance=60,
    )  # fmt: skip
    reference = T5ForConditionalGeneration(config).eval()
    reference.save_pretrained(tmp_path)
    _, network = load_t5(tmp_path)
    for stack, ours in (("encoder", network.encoder_positions), ("decoder", network.decoder_positions)):
        attention = getattr(reference, stack).block[0].layer[0].SelfAttention
        torch.testing.assert_close(ours(300, 300), attention.compute_bias(300, 300))


def test_the_gradients_are_transformers(saved_models: dict[str, Path], theirs: Any) -> None:
    _, network = load_t5(saved_models["t5"])
    inputs, labels = batch(400), torch.randint(0, 400, (3, 5), generator=torch.Generator().manual_seed(1))
    labels[0, 3:] = -100
    losses = network.losses({**inputs, "labels": labels})
    reference = theirs(**inputs, labels=labels).loss
    close(losses["loss"], reference)
    assert losses["ce"] is losses["loss"]
    losses["loss"].backward()
    theirs.zero_grad()
    reference.backward()
    close(network.embed.weight.grad, theirs.shared.weight.grad)
    ours = network.encoder_blocks[0].attn.q.weight.grad
    torch.testing.assert_close(ours, theirs.encoder.block[0].layer[0].SelfAttention.q.weight.grad, rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_a_softmax_checkpoint_takes_every_map_and_anneals_from_itself(saved_models: dict[str, Path]) -> None:
    architecture, network = load_t5(saved_models["t5"])
    inputs = batch(400)
    dense = network.logits(**inputs)
    for attention in SPARSE:
        _, other = changed(architecture, network, attention=attention)
        assert not torch.allclose(other.logits(**inputs), dense, atol=1e-3), attention
        assert other.logits(**inputs).isfinite().all()
    _, annealed = changed(architecture, network, attention="entmax:warmup=0.5", mlp="topk", k=4, k_warmup=0.5)
    annealed.at(0.0)
    close(annealed.logits(**inputs), dense)
    distances = []
    for fraction in (0.1, 0.3, 0.5):
        annealed.at(fraction)
        distances.append(float((annealed.logits(**inputs) - dense).abs().mean()))
    assert 0 < distances[0] < distances[1] < distances[2]
    _, back = changed(*changed(architecture, network, attention="adaptive_entmax"), attention="softmax")
    close(back.logits(**inputs), dense)
    close(network.logits(**inputs), dense)


def test_what_needs_other_weights_cannot_be_changed() -> None:
    architecture = T5(**TINY)
    with pytest.raises(Mismatch, match=r"mlp.into.weight is \[32, 24\] and would have to be \[16, 24\]"):
        changed(architecture, architecture.build(), d_mlp=16)


def test_checkpoints_that_are_no_original_t5_are_refused(saved_models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"units of 'gated-gelu' .* only the original T5"):
        load_t5(saved_models["t5-gated"])
    with pytest.raises(Mismatch, match="type 'gpt2'"):
        load_t5(saved_models["gpt2"])
    with pytest.raises(Missing, match=r"no config\.json"):
        load_t5(tmp_path)


# Padding


@pytest.mark.parametrize("attention", ["softmax", *SPARSE])
@torch.no_grad()
def test_padding_changes_nothing(attention: str) -> None:
    network = T5(**TINY, attention=attention, mlp="topk", k=6).build(seed=3)
    inputs = batch()
    logits = network.logits(**inputs)
    other = {**inputs, "input_ids": torch.where(inputs["attention_mask"].bool(), inputs["input_ids"], 7)}
    assert torch.equal(network.logits(**other), logits)
    for sequence, length in enumerate((9, 6, 1)):
        alone = network.logits(
            inputs["input_ids"][sequence : sequence + 1, :length],
            decoder_input_ids=inputs["decoder_input_ids"][sequence : sequence + 1],
        )
        close(logits[sequence], alone[0])
    empty = network.logits(**{**inputs, "attention_mask": torch.zeros(3, 9)})
    assert empty.isfinite().all()


@pytest.mark.parametrize("attention", ["softmax", *SPARSE])
@torch.no_grad()
def test_the_decoder_does_not_look_ahead(attention: str) -> None:
    network = T5(**TINY, attention=attention).build(seed=3)
    inputs = batch()
    later = inputs["decoder_input_ids"].clone()
    later[:, 3:] = (later[:, 3:] + 1) % 40
    logits, other = network.logits(**inputs), network.logits(**{**inputs, "decoder_input_ids": later})
    assert torch.equal(logits[:, :3], other[:, :3])
    assert not torch.equal(logits[:, 3:], other[:, 3:])


# The 2 × 2 design, and each kind of attention by itself


@pytest.mark.parametrize("attention", ["softmax", "entmax"])
@pytest.mark.parametrize("mlp", ["dense", "topk"])
@torch.no_grad()
def test_dense_or_sparse_attention_and_mlp_are_four_settings(attention: str, mlp: str) -> None:
    network = T5(**TINY, attention=attention, mlp=mlp, k=5).build()
    seen: dict[str, torch.Tensor] = {}
    for name in ("encoder_blocks.1.attn", "decoder_blocks.1.self_attn", "decoder_blocks.1.cross_attn"):
        hook = network.get_submodule(f"{name}.hook_pattern")
        hook.register_forward_hook(lambda _, args, out, name=name: seen.update({name: out}))
    network.decoder_blocks[2].mlp.hook_post.register_forward_hook(lambda _, args, out: seen.update(neurons=out))
    inputs = batch()
    network.logits(**inputs)
    active = (seen.pop("neurons") != 0).sum(-1)
    assert int(active.max()) <= 5 if mlp == "topk" else int(active.max()) > 5
    for name, pattern in seen.items():
        torch.testing.assert_close(pattern.sum(-1), torch.ones(pattern.shape[:-1]))
        allowed = torch.ones_like(pattern, dtype=torch.bool)
        if "self" in name:
            allowed = allowed.tril()
        else:
            allowed &= inputs["attention_mask"].bool()[:, None, None]
        zeros = float((pattern[allowed] == 0).double().mean())
        assert (zeros > 0.1) == (attention == "entmax"), (name, zeros)


def test_each_kind_of_attention_has_its_own_map() -> None:
    network = T5(**TINY, attention="entmax", decoder_attention="relu", cross_attention="topk:k=3").build()
    block = network.decoder_blocks[0]
    names = [part.normaliser.name for part in (network.encoder_blocks[0].attn, block.self_attn, block.cross_attn)]
    assert names == ["entmax", "relu", "topk"]


@torch.no_grad()
def test_statistical_topk_keeps_about_k_neurons() -> None:
    network = T5(**{**TINY, "d_mlp": 1024}, mlp="statistical_topk", k=64).build()
    seen: list[torch.Tensor] = []
    network.encoder_blocks[0].mlp.hook_post.register_forward_hook(lambda _, args, out: seen.append(out))
    network.logits(**batch())
    assert float((seen[0] > 0).sum(-1).float().mean()) == pytest.approx(64, rel=0.15)
    assert float(seen[0].min()) == 0


def test_the_schedules_follow_training() -> None:
    network = T5(**TINY, attention="entmax:warmup=0.5", mlp="topk", k=8, k_warmup=0.5).build()
    assert (network.encoder_blocks[0].mlp.k, network.decoder_blocks[2].cross_attn.normaliser.alpha) == (8, 1.5)
    network.at(0.25)
    assert (network.encoder_blocks[0].mlp.k, network.decoder_blocks[2].cross_attn.normaliser.alpha) == (20, 1.25)
    network.at(1.0)
    assert (network.encoder_blocks[0].mlp.k, network.decoder_blocks[2].cross_attn.normaliser.alpha) == (8, 1.5)


@pytest.mark.parametrize("attention", ["softmax", *SPARSE])
def test_it_learns_with_every_map(attention: str) -> None:
    """To copy three tokens, which takes attention to the right place."""
    network = T5(**TINY, attention=attention, mlp="topk", k=16).build(seed=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    values = []
    for step in range(100):
        tokens = torch.randint(1, 8, (32, 3), generator=generator)
        read = torch.cat([torch.zeros(32, 1, dtype=torch.long), tokens[:, :-1]], dim=1)
        network.at(step / 100)
        loss = network.losses({"input_ids": tokens, "decoder_input_ids": read, "labels": tokens})["loss"]
        optimizer.zero_grad()
        loss.backward()
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())
        optimizer.step()
        values.append(float(loss.detach()))
    assert np.mean(values[-5:]) < 0.8 * math.log(7)  # the entropy of a token


# The contract of ante-hoc models


def test_a_seed_decides_every_weight() -> None:
    architecture = T5(**TINY, attention="adaptive_entmax")
    one, two = architecture.build(seed=5).state_dict(), architecture.build(seed=5).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = architecture.build(seed=6).state_dict()
    assert [name for name in one if torch.equal(one[name], other[name]) and "ln" not in name] == [
        name for name in one if name.endswith("learned")
    ]


@torch.no_grad()
def test_the_first_weights_have_t5_scales() -> None:
    network = T5(vocabulary=500, d_model=96, n_layers=1, n_heads=4, d_mlp=200).build()
    block = network.decoder_blocks[0]
    for weight, expected in (
        (network.embed.weight, 1.0),
        (block.cross_attn.q.weight, (96 * 24) ** -0.5),
        (block.cross_attn.k.weight, 96**-0.5),
        (block.cross_attn.o.weight, 96**-0.5),
        (block.mlp.into.weight, 96**-0.5),
        (block.mlp.out.weight, 200**-0.5),
    ):
        assert float(weight.std()) == pytest.approx(expected, rel=0.05)


@torch.no_grad()
def test_half_of_the_neurons_fire_before_training() -> None:
    network = T5(**{**TINY, "d_mlp": 512}).build()
    shares = []
    for block in (*network.encoder_blocks, *network.decoder_blocks):
        block.mlp.hook_post.register_forward_hook(lambda _, args, out: shares.append(float((out > 0).float().mean())))
    network.logits(**batch())
    assert shares == pytest.approx([0.5] * 5, abs=0.05)


@torch.no_grad()
def test_units_write_what_they_say() -> None:
    network = T5(**TINY, mlp="topk", k=5, cross_attention="kwta:k=3").build()
    seen: dict[str, torch.Tensor] = {}
    for units in network.units():
        for hook in (units.hook, units.writes):
            network.get_submodule(hook).register_forward_hook(lambda _, args, out, hook=hook: seen.update({hook: out}))
    network.logits(**batch())
    assert [(units.kind, units.hook) for units in network.units()] == [
        *(("topk_neuron", f"encoder_blocks.{layer}.mlp.hook_post") for layer in range(2)),
        *(
            each
            for layer in range(3)
            for each in (
                ("kwta_neuron", f"decoder_blocks.{layer}.cross_attn.hook_z"),
                ("topk_neuron", f"decoder_blocks.{layer}.mlp.hook_post"),
            )
        ),
    ]
    for units in network.units():
        values = seen[units.hook].flatten(2)
        assert int((values != 0).sum(-1).max()) == (3 if units.kind == "kwta_neuron" else 5)
        close(values @ units.directions, seen[units.writes])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"attention": "softmaks"}, "no attention map 'softmaks'"),
        ({"cross_attention": "entmax:alpha=3"}, "not 3"),
        ({"mlp": "sparse"}, "MLP 'sparse' of t5 is not known; use dense, topk"),
        ({"mlp": "topk", "k": 33}, "from 1 to the 32 neurons there are, not 33"),
        ({"n_buckets": 30}, "n_buckets of t5 is a multiple of 4 below max_distance, not 30"),
    ],
)
def test_fields_that_cannot_be_are_a_sentence(fields: dict[str, Any], said: str) -> None:
    with pytest.raises((Misuse, Missing), match=said):
        T5(**{**TINY, **fields})


# As a model of transformers


@pytest.fixture(scope="module")
def saved(saved_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = load_tokenizer(str(saved_models["t5"]))
    architecture = T5(**{**TINY, "vocabulary": len(tokenizer)}, attention="adaptive_entmax", mlp="topk", k=6)
    folder = tmp_path_factory.mktemp("t5") / "saved"
    save(architecture.build(seed=2), architecture, tokenizer, folder)
    return folder


@torch.no_grad()
def test_a_saved_t5_of_ours_opens_as_any_other(saved: Path) -> None:
    architecture, network = load(saved)
    assert isinstance(architecture, T5)
    model = load_model(str(saved), dtype="float32", device="cpu")
    assert model.kind == "encoder-decoder"
    assert model.predicts_tokens
    inputs = batch(architecture.vocabulary)
    assert torch.equal(model.logits(inputs), network.logits(**inputs))
    built = architecture.build(seed=2)
    torch.testing.assert_close(model.logits(inputs), built.logits(**inputs))


def test_its_hooks_are_those_of_transformer_lens(saved: Path, saved_models: dict[str, Path]) -> None:
    ours = all_sites(load_config(str(saved)), load_tokenizer(str(saved)))
    theirs = all_sites(load_config(str(saved_models["t5"])), load_tokenizer(str(saved_models["t5"])))
    wanted = {name for name, site in theirs.items() if name.rpartition(".")[2].startswith("hook_") and "blocks" in name}
    plain = {name for name in wanted if not name.endswith((".hook_in", ".hook_out", "hook_normalized", "hook_scale"))}
    assert len(plain) > 40
    assert plain - set(ours) == set()
    assert not any("hook_pattern" in name for name in ours)


def test_harvest_takes_a_t5_of_ours(saved: Path, text_file: Path, tmp_path: Path) -> None:
    config = HarvestConfig(
        model=str(saved),
        dataset=str(text_file),
        hook=("encoder_blocks.*.mlp.hook_post", "decoder_blocks.1.cross_attn.hook_z"),
        tokens=2000,
        context=24,
        dtype="float32",
        model_dtype="float32",
        device="cpu",
        out=tmp_path / "store.zarr",
    )
    assert harvest(config).complete
    store = actpipe.open_store(tmp_path / "store.zarr")
    assert dict(store.hooks) == {
        "encoder_blocks.0.mlp.hook_post": 32,
        "encoder_blocks.1.mlp.hook_post": 32,
        "decoder_blocks.1.cross_attn.hook_z": 12,
    }
    rows = np.asarray(store.read("encoder_blocks.1.mlp.hook_post", 0, 24 * 10))
    active = (rows != 0).sum(1)
    assert active.max() == 6
    model = load_model(str(saved), dtype="float32", device="cpu")
    seen: list[torch.Tensor] = []
    hook = model.module.get_submodule("network.encoder_blocks.1.mlp.hook_post")
    hook.register_forward_hook(lambda _, args, out: seen.append(out))
    tokens = torch.from_numpy(store.tokens[:10].astype(np.int64))
    present = torch.from_numpy(store.doc[:10] >= 0)
    model.logits(model.inputs(tokens, present))
    torch.testing.assert_close(torch.from_numpy(rows).view(10, 24, 32)[present], seen[0][present], rtol=1e-4, atol=1e-5)


def test_every_map_can_be_the_attention_of_a_t5() -> None:
    assert {name.partition(":")[0] for name in SPARSE} == set(NORMALISERS) - {"softmax"}
