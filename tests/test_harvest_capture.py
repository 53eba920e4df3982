"""Captured values against two oracles: TransformerLens' own cache, and the hidden states of transformers."""

from __future__ import annotations

import contextlib
import random
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from actpipe.errors import Missing, Misuse
from actpipe.harvest.capture import capture, splice
from actpipe.harvest.model import LanguageModel, load_config, load_model, load_tokenizer
from actpipe.harvest.sites import Site, all_sites, by_kind, default_hooks, find_sites

DECODERS = ("llama", "gpt2", "neox")
FAMILIES = (*DECODERS, "bert", "t5", "t5-gated")
KINDS = {"bert": "encoder", "t5": "encoder-decoder", "t5-gated": "encoder-decoder"}
# What people hook most, in the vocabulary of TransformerLens.
RESIDUAL = ("hook_resid_pre", "hook_resid_post")
MLP = ("mlp.hook_in", "hook_mlp_out", "mlp.hook_post")
ATTENTION = ("hook_attn_out", "attn.hook_z")
CROSS = ("self_attn.hook_z", "cross_attn.hook_z", "cross_attn.hook_out", "hook_cross_attn_out")
EXPECTED = {
    "decoder": [f"blocks.1.{name}" for name in (*RESIDUAL, *MLP, *ATTENTION)],
    "encoder": [
        f"blocks.1.{name}"
        for name in (*RESIDUAL, "hook_resid_mid", "hook_mlp_in", "hook_mlp_out", "mlp.hook_post", *ATTENTION)
    ],
    "encoder-decoder": [
        *(f"encoder_blocks.1.{name}" for name in (*RESIDUAL, "hook_resid_mid", *MLP, *ATTENTION)),
        *(f"decoder_blocks.1.{name}" for name in (*RESIDUAL, "hook_resid_mid", "hook_resid_mid2", *MLP, *CROSS)),
    ],
}
# Computed by the native model only: the bridge cuts fused matrices up and looks ids up elsewhere.
NATIVE_ONLY = ("attn.qkv.hook_in", "attn.qkv.hook_out", "embed.hook_out", "hook_embed")


def loaded(folders: dict[str, Path], family: str, dtype: Any = "float32") -> LanguageModel:
    return load_model(str(folders[family]), dtype=dtype, device="cpu")


def sites_of(model: LanguageModel, *patterns: str) -> tuple[Site, ...]:
    return find_sites(patterns, model.config, model.tokenizer)


def some_tokens(model: LanguageModel, batch: int = 2, context: int = 24) -> torch.Tensor:
    ids = torch.randint(len(model.tokenizer) - 4, (batch, context), generator=torch.Generator().manual_seed(0))
    if model.opening_token is not None:
        ids[:, 0] = model.opening_token
    return ids


def padded(model: LanguageModel, ids: torch.Tensor, *lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ids with padding after `lengths`, and the attention that says so."""
    attention = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
    padding = model.tokenizer.pad_token_id if model.tokenizer.pad_token_id is not None else 0
    return torch.where(attention, ids, padding), attention


def bridge_cache(model: LanguageModel, ids: torch.Tensor, attention: torch.Tensor | None = None) -> dict[str, Any]:
    from transformer_lens.model_bridge import TransformerBridge

    fresh = load_model(model.name, dtype="float32", device="cpu")
    asked: dict[str, Any] = {}
    if model.kind == "encoder" and attention is not None:
        asked = {"attention_mask": attention.long()}
    if model.kind == "encoder-decoder":
        read = torch.ones_like(ids) if attention is None else attention.long()
        asked = {"attention_mask": read.index_fill(1, torch.tensor([0]), 0), "decoder_input": ids}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bridge = TransformerBridge.boot_transformers(
            "oracle", hf_model=fresh.module, tokenizer=fresh.tokenizer, device="cpu", dtype=torch.float32
        )
        with torch.inference_mode():
            _, cache = bridge.run_with_cache(ids, **asked)
    return dict(cache)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_hook_equals_transformer_lens(saved_models: dict[str, Path], family: str) -> None:
    model = loaded(saved_models, family)
    assert model.kind == KINDS.get(family, "decoder")
    sites = all_sites(model.config, model.tokenizer)
    assert set(EXPECTED[model.kind]) <= sites.keys()
    ids, attention = padded(model, some_tokens(model), 24, 15)
    with capture(model, list(sites.values())) as run:
        taken = run(ids, attention)
    cache = bridge_cache(model, ids, attention)
    assert list(taken) == list(sites)
    for hook, site in sites.items():
        assert taken[hook].shape == (2, 24, site.width)
        if cache.get(hook) is None:
            assert hook.endswith(NATIVE_ONLY)
            continue
        expected = cache[hook].flatten(2)
        torch.testing.assert_close(taken[hook][attention], expected[attention], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "neox", "bert"])
def test_residuals_are_the_hidden_states_of_transformers(saved_models: dict[str, Path], family: str) -> None:
    model = loaded(saved_models, family)
    ids, attention = padded(model, some_tokens(model), 24, 15)
    mask = {"attention_mask": attention.long()} if family == "bert" else {}
    with capture(model, sites_of(model, "blocks.*.hook_resid_pre", "blocks.*.hook_resid_post")) as run:
        taken = run(ids, attention)
    with torch.inference_mode():
        states = model.module(ids, output_hidden_states=True, **mask).hidden_states
    for layer in range(3):
        assert torch.equal(taken[f"blocks.{layer}.hook_resid_pre"], states[layer])
        if layer < 2 or family == "bert":  # a decoder's last state is given after the final norm
            assert torch.equal(taken[f"blocks.{layer}.hook_resid_post"], states[layer + 1])


@pytest.mark.parametrize("family", ["t5", "t5-gated"])
def test_t5_reads_the_text_alone_and_its_decoder_the_same_text_from_the_opening_token_on(
    saved_models: dict[str, Path], family: str
) -> None:
    model = loaded(saved_models, family)
    assert model.opening_token == model.tokenizer.pad_token_id
    ids, attention = padded(model, some_tokens(model), 24, 15)
    with capture(model, sites_of(model, "*coder_blocks.*.hook_resid_post")) as run:
        taken = run(ids, attention)
    for row, length in ((0, 24), (1, 15)):
        text = ids[row : row + 1, 1:length]  # without opening token and padding: no mask at all
        with torch.inference_mode():
            states = model.module(text, decoder_input_ids=ids[row : row + 1, :length], output_hidden_states=True)
        for layer in range(2):
            block = taken[f"encoder_blocks.{layer}.hook_resid_post"][row, 1:length]
            if layer < 1:  # the last state is given after the final norm
                torch.testing.assert_close(block, states.encoder_hidden_states[layer + 1][0], rtol=1e-4, atol=1e-5)
            block = taken[f"decoder_blocks.{layer}.hook_resid_post"][row, :length]
            torch.testing.assert_close(block, states.decoder_hidden_states[layer + 1][0], rtol=1e-4, atol=1e-5)


def test_the_embedded_model_agrees_with_transformer_lens_and_transformers(embedded_folder: Path) -> None:
    model = load_model("smollm2", dtype="float32", device="cpu")
    ids = some_tokens(model, batch=1, context=16)
    hooks = ("blocks.9.hook_resid_mid", "blocks.9.hook_attn_out", "blocks.9.attn.hook_z", "blocks.9.hook_mlp_out")
    sites = sites_of(model, *default_hooks(model.config), *hooks, "blocks.9.attn.hook_rot_q")
    with capture(model, sites) as run:
        taken = run(ids)
    with torch.inference_mode():
        states = model.module(ids, output_hidden_states=True).hidden_states
    assert torch.equal(taken["blocks.9.hook_resid_post"], states[10])
    cache = bridge_cache(model, ids)
    for site in sites:
        torch.testing.assert_close(taken[site.hook], cache[site.hook].flatten(2), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_does_not_change_the_rows_of_real_tokens(saved_models: dict[str, Path], family: str) -> None:
    model = loaded(saved_models, family)
    draw = random.Random(0)
    sites = sites_of(model, *EXPECTED[model.kind])
    if model.kind == "encoder-decoder":  # padding is read by the encoder too, so the decoder would see it there
        sites += sites_of(model, "decoder_blocks.2.hook_resid_post")
    for _ in range(6):
        lengths = [draw.randint(2, 20) for _ in range(3)]
        ids, attention = padded(model, some_tokens(model, 3, 20), *lengths)
        with capture(model, sites) as run:
            together = run(ids, attention)
            for row, length in enumerate(lengths):
                alone = run(ids[row : row + 1, :length])
                for site in sites:
                    torch.testing.assert_close(
                        together[site.hook][row, :length], alone[site.hook][0], rtol=1e-4, atol=1e-5
                    )


def test_a_sequence_of_padding_alone_is_finite(saved_models: dict[str, Path]) -> None:
    for family in ("bert", "t5"):
        model = loaded(saved_models, family)
        ids, attention = padded(model, some_tokens(model), 24, 0)
        with capture(model, sites_of(model, *EXPECTED[model.kind])) as run:
            assert all(value.isfinite().all() for value in run(ids, attention).values())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_other_dtypes_run_and_stay_near_float32(saved_models: dict[str, Path], family: str, dtype: str) -> None:
    model, exact = loaded(saved_models, family, dtype), loaded(saved_models, family)
    ids, attention = padded(model, some_tokens(model), 24, 15)
    bridged = sites_of(model, "*.1.ln1.hook_normalized")
    if model.kind == "encoder-decoder" and dtype == "float16":
        with pytest.raises(Misuse, match=r"bridge cannot run .* with weights in float16 and float32"):
            capture(model, bridged).__enter__()
        bridged = ()
    sites = sites_of(model, *EXPECTED[model.kind]) + bridged
    with capture(model, sites) as run, capture(exact, sites) as run_exact:
        taken, expected = run(ids, attention), run_exact(ids, attention)
    for site in sites:
        value, other = taken[site.hook][attention].float(), expected[site.hook][attention]
        assert (value - other).norm() < 0.05 * other.norm()
    # T5 in float16 keeps its residual stream in float32, where it would overflow.
    z = "encoder_blocks.1.attn.hook_z" if model.kind == "encoder-decoder" else "blocks.1.attn.hook_z"
    assert taken[z].dtype == getattr(torch, dtype)


@pytest.mark.parametrize("family", ["gpt2", "bert", "t5"])
def test_values_do_not_depend_on_what_else_is_captured(saved_models: dict[str, Path], family: str) -> None:
    model = loaded(saved_models, family)
    bridged = sites_of(model, "*.1.ln1.hook_normalized")
    native = sites_of(model, EXPECTED[model.kind][0])
    assert {site.through for site in bridged} == {"bridge"}
    ids = some_tokens(model)
    with capture(model, native) as run:
        before = run(ids)
    with capture(model, (*bridged, *native)) as run:
        both = run(ids)
    with capture(model, bridged) as run:
        alone = run(ids)
    with capture(model, native) as run:  # after the bridge: it works on a twin, the model is as it was
        after = run(ids)
    for hook, value in (before | alone | after).items():
        assert torch.equal(both[hook], value)
    assert torch.equal(before[native[0].hook], after[native[0].hook])


def watched_calls(model: LanguageModel) -> list[str]:
    """Paths of modules, as they are called."""
    ran: list[str] = []
    for path, module in model.module.named_modules():
        module.register_forward_pre_hook(lambda *_, path=path: ran.append(path))
    return ran


def test_layers_above_the_last_site_do_not_run(saved_models: dict[str, Path]) -> None:
    model = loaded(saved_models, "llama")
    ran = watched_calls(model)
    with capture(model, sites_of(model, "blocks.1.hook_resid_post")) as run:
        run(some_tokens(model))
    assert "model.layers.1" in ran
    assert not {"model.layers.2", "model.norm", "lm_head"} & set(ran)


def test_a_decoder_that_nobody_asked_for_does_not_run(saved_models: dict[str, Path]) -> None:
    model = loaded(saved_models, "t5")
    ran = watched_calls(model)
    with capture(model, sites_of(model, "encoder_blocks.1.hook_resid_post")) as run:
        run(some_tokens(model))
    assert "encoder.block.1" in ran
    assert not [path for path in ran if path.startswith(("decoder", "lm_head"))]
    with capture(model, sites_of(model, "decoder_blocks.0.hook_resid_post")) as run:
        run(some_tokens(model))
    assert "decoder.block.0" in ran
    assert not {"decoder.block.1", "lm_head"} & set(ran)


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_is_the_fast_one_and_there_is_no_head(saved_models: dict[str, Path], family: str) -> None:
    model = loaded(saved_models, family)
    assert model.module.config._attn_implementation == "sdpa"  # type: ignore[union-attr]
    stack = "decoder_blocks" if model.kind == "encoder-decoder" else "blocks"
    ran = watched_calls(model)
    with capture(model, sites_of(model, f"{stack}.2.hook_resid_post")) as run:
        run(some_tokens(model))
    assert ran
    assert not [path for path in ran if path.startswith(("lm_head", "embed_out", "cls"))]


def test_hooks_are_gone_after_the_block_even_when_it_fails(saved_models: dict[str, Path]) -> None:
    model = loaded(saved_models, "gpt2")
    sites = sites_of(model, "blocks.1.hook_resid_post")

    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.module.modules())

    before = hooks()
    during = 0
    with contextlib.suppress(ZeroDivisionError), capture(model, sites):
        during = hooks()
        raise ZeroDivisionError
    assert during == before + 1
    assert hooks() == before


@pytest.mark.parametrize(
    ("family", "hook"),
    [
        ("llama", "blocks.1.hook_resid_post"),
        ("llama", "blocks.1.mlp.hook_post"),
        ("llama", "module:model.layers.1.self_attn"),
        ("gpt2", "blocks.1.attn.hook_v"),  # of the bridge
        ("t5", "encoder_blocks.1.hook_resid_post"),
        ("t5", "decoder_blocks.1.cross_attn.hook_z"),
        ("t5", "decoder_blocks.1.hook_resid_mid"),
    ],
)
def test_splicing_the_same_values_changes_nothing_and_other_values_something(
    saved_models: dict[str, Path], family: str, hook: str
) -> None:
    model = loaded(saved_models, family)
    ids = some_tokens(model)
    (site,) = sites_of(model, hook)
    assert Site.recorded(hook, site.record(), site.width) == site
    with torch.inference_mode():
        plain = (model.bridge if site.through == "bridge" else model).logits(model.inputs(ids))
        with splice(model, site, lambda x: x.clone()) as read:
            same = read(ids)
        with splice(model, site, torch.zeros_like) as read:
            other = [read(ids), read(ids)]
        assert torch.equal(plain, same)
        assert not torch.allclose(plain, other[0])
        assert torch.equal(*other)


def hooks_of(model: LanguageModel, *patterns: str) -> list[str]:
    return [site.hook for site in sites_of(model, *patterns)]


def test_wildcards_choose_several_hooks_and_each_tensor_once(saved_models: dict[str, Path]) -> None:
    llama, gpt2 = loaded(saved_models, "llama"), loaded(saved_models, "gpt2")
    assert hooks_of(llama, "blocks.*.hook_resid_post") == [f"blocks.{i}.hook_resid_post" for i in range(3)]
    ends = {"blocks.1.hook_attn_out", "blocks.1.hook_mlp_out", "blocks.1.hook_resid_post"}
    assert set(hooks_of(llama, "blocks.1.hook_*t")) == ends  # and not hook_out beside hook_resid_post
    assert hooks_of(llama, "blocks.1.hook_out") == ["blocks.1.hook_out"]  # the name that was asked for
    assert hooks_of(llama, "blocks.1.hook_out", "blocks.1.hook_resid_post") == [
        "blocks.1.hook_out",
        "blocks.1.hook_resid_post",
    ]
    # Nothing native has this name, so the wildcard is about the bridge.
    assert hooks_of(gpt2, "blocks.*.attn.hook_q") == [f"blocks.{i}.attn.hook_q" for i in range(3)]
    assert {site.through for site in sites_of(gpt2, "blocks.*")} == {"native"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_wildcard_over_everything_takes_every_native_tensor_with_rows(
    saved_models: dict[str, Path], family: str
) -> None:
    model = loaded(saved_models, family)
    sites = sites_of(model, "*")
    places = {(site.path, site.side) for site in sites}
    assert len(places) == len(sites)
    assert "embed.hook_in" not in {site.hook for site in sites}  # token ids
    with capture(model, sites) as run:
        taken = run(some_tokens(model))
    assert all(taken[site.hook].shape == (2, 24, site.width) for site in sites)


def test_modules_are_hooked_by_path(saved_models: dict[str, Path]) -> None:
    model = loaded(saved_models, "llama")
    same = {
        "module:model.layers.1": "blocks.1.hook_resid_post",
        "module:model.layers.1.mlp": "blocks.1.hook_mlp_out",
        "module:model.layers.1.mlp.down_proj@input": "blocks.1.mlp.hook_post",
    }
    with capture(model, sites_of(model, *same, *same.values())) as run:
        taken = run(some_tokens(model))
    for path, name in same.items():
        assert torch.equal(taken[path], taken[name])
    assert hooks_of(model, "module:model.layers.*.mlp@input") == [
        f"module:model.layers.{i}.mlp@input" for i in range(3)
    ]


@pytest.mark.parametrize(
    ("hook", "sentence"),
    [
        ("blocks.7.hook_resid_post", r"no hook 'blocks\.7\.hook_resid_post'\. Its blocks are 0 to 2\."),
        ("blocks.1.hook_resid_pst", r"Did you mean blocks\.1\.hook_resid_post"),
        ("blocks.1.attn.hook_pattern", r"'blocks\.1\.attn\.hook_pattern' does not hold one row for each token"),
        ("embed.hook_in", r"'embed\.hook_in' does not hold one row for each token"),
        ("blocks.*.attn.hook_attn_scores", r"does not hold one row for each token"),
        ("blocks.1.attn.hook_result", r"'blocks\.1\.attn\.hook_result' is a copy that TransformerLens only makes on"),
        ("module:model.layers.1.mpl", r"no module 'model\.layers\.1\.mpl'\. Did you mean model\.layers\.1\.mlp"),
        ("module:model.layers.1@inside", r"the side is 'inside'; it is @input or @output"),
        ("module:model.rotary_emb", r"'module:model\.rotary_emb' does not hold one row for each token"),
    ],
)
def test_a_hook_that_cannot_be_is_answered_with_a_sentence(
    saved_models: dict[str, Path], hook: str, sentence: str
) -> None:
    folder = str(saved_models["llama"])
    with pytest.raises(Misuse, match=sentence):
        find_sites([hook], load_config(folder), load_tokenizer(folder))


def test_no_hook_at_all_is_answered_with_an_example(saved_models: dict[str, Path]) -> None:
    folder = str(saved_models["llama"])
    with pytest.raises(Misuse, match="No hook was named"):
        find_sites([], load_config(folder), load_tokenizer(folder))


def test_the_sites_of_a_model_are_known_without_room_for_its_weights(saved_models: dict[str, Path]) -> None:
    from transformers import LlamaConfig

    config = LlamaConfig(hidden_size=16_384, intermediate_size=53_248, num_hidden_layers=20, num_attention_heads=128)
    began = time.monotonic()
    sites = find_sites(
        ["blocks.19.mlp.hook_post", "module:model.norm"], config, load_tokenizer(str(saved_models["llama"]))
    )
    assert [site.width for site in sites] == [53_248, 16_384]  # of 74 billion parameters
    assert time.monotonic() - began < 30


def test_hooks_are_listed_by_kind_with_the_range_of_blocks() -> None:
    sites = [Site(f"blocks.{i}.hook_resid_post", "", "output", 8) for i in range(12)]
    sites += [Site(f"module:h.{i}.mlp", "", "output", 4) for i in (0, 2, 3)]
    assert by_kind([*sites, Site("hook_embed", "", "output", 8)]) == {
        "blocks.0…11.hook_resid_post": 8,
        "module:h.0,2…3.mlp": 4,
        "hook_embed": 8,
    }


def test_a_model_that_transformer_lens_does_not_know_is_hooked_by_module(tmp_path: Path, tokenizer: Any) -> None:
    from transformers import AutoModelForMaskedLM, DistilBertConfig

    config = DistilBertConfig(vocab_size=len(tokenizer), dim=32, hidden_dim=64, n_layers=2, n_heads=4)
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = load_model(str(tmp_path), dtype="float32", device="cpu")
    with pytest.raises(Missing, match=r"no names for a DistilBertForMaskedLM\. Name its modules instead"):
        sites_of(model, "blocks.0.hook_resid_post")
    hook = "module:distilbert.transformer.layer.1.ffn"
    assert hook in all_sites(model.config, model.tokenizer)
    with capture(model, sites_of(model, hook)) as run:
        assert run(some_tokens(model))[hook].shape == (2, 24, 32)


def test_an_encoder_without_its_head_is_the_same_at_every_loading(
    saved_models: dict[str, Path], tmp_path: Path
) -> None:
    """As sentence encoders are published; transformers would fill the head with noise."""
    whole = loaded(saved_models, "bert")
    whole.module.bert.save_pretrained(tmp_path)  # type: ignore[union-attr,operator]
    whole.tokenizer.save_pretrained(tmp_path)
    model = load_model(str(tmp_path), dtype="float32", device="cpu")
    assert (model.headless, whole.headless, model.predicts_tokens) == (True, False, False)
    assert model.fingerprint() == load_model(str(tmp_path), dtype="float32", device="cpu").fingerprint()
    ids, hook = some_tokens(model), "blocks.2.hook_resid_post"
    with capture(model, sites_of(model, hook)) as run, capture(whole, sites_of(whole, hook)) as run_whole:
        assert torch.equal(run(ids)[hook], run_whole(ids)[hook])


def test_a_checkpoint_that_lacks_a_layer_is_refused(saved_models: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = saved_models["llama"]
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Missing, match=r"no weights for model\.layers\.1\.mlp\.up_proj\.weight\. Is it complete"):
        load_model(str(tmp_path), dtype="float32", device="cpu")


@pytest.mark.parametrize("name", ["./nowhere", "no/such/folder", "nosuch/model"])
def test_an_unknown_model_is_one_sentence(name: str) -> None:
    with pytest.raises(Missing, match=name):
        load_model(name)


def test_a_folder_without_a_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"no config\.json"):
        load_config(str(tmp_path))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_fingerprint_of_a_model_follows_its_weights(saved_models: dict[str, Path], family: str) -> None:
    model = loaded(saved_models, family)
    before = model.fingerprint()
    assert before == loaded(saved_models, family).fingerprint()
    weight: Any = next(model.module.parameters())
    weight.data.view(-1)[0] += 1
    assert model.fingerprint() != before


def test_what_a_model_adds_in_place_later_does_not_reach_what_was_captured(tmp_path: Path, tokenizer: Any) -> None:
    """Falcon adds the output of attention to that of the MLP in place."""
    from transformers import FalconConfig, FalconForCausalLM

    torch.manual_seed(0)
    config = FalconConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, parallel_attn=True
    )
    FalconForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = load_model(str(tmp_path), dtype="float32", device="cpu")
    sites = find_sites(["module:transformer.h.*.mlp", "module:transformer.h.*"], model.config, model.tokenizer)
    ids = some_tokens(model)
    with capture(model, sites) as run:
        together = run(ids)
    for site in sites:
        with capture(model, [site]) as run:
            assert torch.equal(run(ids)[site.hook], together[site.hook]), site.hook
